//! `pipenotify delivery`, beside a running process.

use serde_json::{Value, json};
use tests::{
    process::{Home, program},
    receiver::{Mood, Receiver},
};

use super::{QUICK, deliver, destination, wait_for};

fn pipenotify(home: &Home, words: &[&str]) -> (bool, String) {
    let output = program()
        .unwrap()
        .args(["delivery"])
        .args(words)
        .args(["--lake", home.lake(), "--ledger", "ledger.db"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_and_sent_again() {
    let room = Receiver::start(Mood::Refusing("poison".into())).await.unwrap();
    let home = Home::new().unwrap().with_settings(QUICK);
    let _process = home.start().await.unwrap();
    let client = home.client();
    destination(&client, "chat", &room.url()).await;
    let bad = deliver(&client, "bad", &json!({"text": "poison"})).await;
    let good = deliver(&client, "good", &json!({"text": "fine"})).await;
    wait_for(&client, &bad, "dead").await.unwrap();
    wait_for(&client, &good, "delivered").await.unwrap();

    let (fine, listed) = pipenotify(&home, &["list", "--state", "dead"]);
    assert!(fine && listed.lines().count() == 1, "{listed}");
    assert!(listed.contains(&bad) && listed.contains("answered 422"), "{listed}");
    let (fine, shown) = pipenotify(&home, &["show", &bad]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(fine && shown["payload"] == json!({"text": "poison"}), "{shown}");
    assert_eq!(shown["attempts_made"][0]["status"], 422, "{shown}");

    for wrong in
        [&["redrive"][..], &["redrive", "nothing"], &["list", "--state", "x"], &["show", "x"]]
    {
        let (fine, said) = pipenotify(&home, wrong);
        assert!(!fine && !said.is_empty(), "{wrong:?}: {said}");
    }
    let (fine, said) = pipenotify(&home, &["redrive", "--tenant", "nobody"]);
    assert!(!fine && said.contains("`nobody` is unknown"), "{said}");
    room.set(Mood::Well);
    let (fine, said) = pipenotify(&home, &["redrive", "--destination", "chat"]);
    assert!(fine && said == "1 deliveries are due again\n", "{said}");
    wait_for(&client, &bad, "delivered").await.unwrap();
}
