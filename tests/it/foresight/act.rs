//! Acting on what is foreseen, and knowing whether it was averted.

use super::*;

/// Makes room before it is too late, if that is likely enough.
const MAKE_ROOM: &str = "
    [healing]
    every = '200ms'
    allow_commands = ['/usr/bin/touch']
    command_user = [USER, GROUP]
    [[playbook]]
    name = 'make room'
    match = { rule = ['forecast'], component = ['queue'], probability = PROBABILITY }
    verify = { wait = '100ms', within = '30s', metric = 'queue.backlog', aggregation = 'last', below = 50.0 }
    [[playbook.action]]
    do = 'run_command'
    program = '/usr/bin/touch'
    arguments = ['acted']
    folder = 'FOLDER'
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreseen_is_acted_on_once_it_is_likely_enough() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let owner = folder.path().metadata().unwrap();
    let settings = |probability: &str| {
        let playbook = MAKE_ROOM
            .replace("FOLDER", &folder.path().display().to_string())
            .replace("USER", &owner.uid().to_string())
            .replace("GROUP", &owner.gid().to_string())
            .replace("PROBABILITY", probability);
        format!("{OFTEN}{BACKLOG}{playbook}")
    };
    // Nothing but what has come already is that certain.
    let home = Home::new().unwrap().with_settings(settings("1.0"));
    let process = home.start().await.unwrap();
    let client = home.client();
    let hour = TimeDelta::hours(1);
    send(&client, "queue.backlog", &json!({"service": "queue"}), hour, 37, |n| 2.0 * f64::from(n))
        .await;
    let incidents = "/api/v1/incidents";
    let foreseen = |it: &Value| it["incidents"][0]["component"] == "queue";
    until(&client, incidents, foreseen).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let actions = get(&client, "/api/v1/actions").await.unwrap();
    assert_eq!(actions["actions"], json!([]), "it is only probable: {actions:#}");
    assert!(!folder.path().join("acted").exists());
    process.stop().await.unwrap();

    let home = home.with_settings(settings("0.7"));
    let _process = home.start().await.unwrap();
    let verifying = |it: &Value| it["actions"][0]["state"] == "verifying";
    let begun = until(&client, "/api/v1/actions", verifying).await.unwrap();
    assert_eq!(begun["actions"].as_array().unwrap().len(), 1, "{begun:#}");
    assert!(folder.path().join("acted").exists());
    send(&client, "queue.backlog", &json!({"service": "queue"}), hour, 1, |_| 10.0).await;
    let effective = |it: &Value| it["actions"][0]["outcome"] == "effective";
    until(&client, "/api/v1/actions", effective).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreseen_is_verified_by_its_number_and_not_by_its_probability() {
    let playbook = "
    [healing]
    every = '200ms'
    allow_commands = ['/bin/true']
    command_user = [0, 0]
    [[playbook]]
    name = 'make room'
    match = { rule = ['forecast'], probability = 0.7 }
    verify = { wait = '100ms', within = '30s' }
    [[playbook.action]]
    do = 'run_command'
    program = '/bin/true'
    ";
    let (home, _process) = start(&format!("{BACKLOG}{playbook}")).await;
    let client = home.client();
    let (hour, labels) = (TimeDelta::hours(1), json!({"service": "queue"}));
    send(&client, "queue.backlog", &labels, hour, 37, |n| 2.0 * f64::from(n)).await;
    let verifying = |it: &Value| it["actions"][0]["state"] == "verifying";
    until(&client, "/api/v1/actions", verifying).await.unwrap();
    let now = json!({"samples": [{"metric": "queue.backlog", "service": "queue", "value": 10.0}]});
    client.write_json(&now).await.unwrap().success().unwrap();
    let effective = |it: &Value| it["actions"][0]["outcome"] == "effective";
    let done = until(&client, "/api/v1/actions", effective).await.unwrap();
    let done = &done["actions"][0];
    assert_eq!((&done["before"], &done["after"]), (&json!(72.0), &json!(10.0)), "{done:#}");
}
