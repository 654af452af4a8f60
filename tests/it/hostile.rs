//! Questions that are meant to hurt: none of them changes anything or reads a file.

use tests::process::Home;

#[tokio::test(flavor = "multi_thread")]
async fn sql_reads_nothing_but_tables_and_changes_nothing() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    let secret = home.path().join("secret.csv");
    std::fs::write(&secret, "word\nsesame\n").unwrap();
    let (secret, target) = (secret.display(), home.path().join("out"));
    let queries = [
        format!("select * from '{secret}'"),
        format!("select * from read_csv('{secret}')"),
        format!("select * from read_parquet('{secret}')"),
        format!("create external table x stored as csv location '{secret}'"),
        format!("copy (select 1) to '{}'", target.display()),
        format!("copy samples to '{}'", target.display()),
        format!("explain analyze copy (select 1) to '{}'", target.display()),
        "create table x as select 1".to_owned(),
        "create view x as select 1".to_owned(),
        "create schema x".to_owned(),
        "create function f(x int) returns int return x".to_owned(),
        "drop table samples".to_owned(),
        "delete from samples".to_owned(),
        "truncate table samples".to_owned(),
        "insert into samples select * from samples".to_owned(),
        "insert into api_key select * from api_key".to_owned(),
        "update api_key set role = 'admin'".to_owned(),
        "set datafusion.execution.batch_size = 1".to_owned(),
        "begin".to_owned(),
        "select 1; drop table samples".to_owned(),
        "prepare p as select 1".to_owned(),
        "attach 'x' as y".to_owned(),
    ];
    for query in queries {
        let headers = [("content-type", "text/plain")];
        let reply = client.post("/api/v1/sql", &headers, query.clone()).await.unwrap();
        assert_eq!(reply.status.as_u16(), 400, "{query}: {} {}", reply.status, reply.text);
        assert!(!reply.text.contains("sesame"), "{query}: {}", reply.text);
        assert!(!target.exists(), "{query}");
    }
    // No question shows a key, not even its hash.
    let question = "select table_name || '.' || column_name from information_schema.columns \
                    where table_schema = 'public'";
    let columns = client.rows(question).await.unwrap();
    let is_secret = |name: &str| ["hash", "secret", "password"].iter().any(|it| name.contains(it));
    let secret: Vec<_> = columns.iter().filter(|row| is_secret(&row[0])).collect();
    assert!(columns.len() > 100 && secret.is_empty(), "{secret:?}");
}
