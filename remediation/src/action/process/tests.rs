use super::*;

fn context() -> Context {
    let timeout = Duration::from_secs(20);
    Context::new("k", Allowed::default(), timeout, Default::default())
}

fn pid_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pipenotify-{name}-{}.pid", std::process::id()))
}

fn restart(pid_file: &Path, start: &[&str]) -> RestartProcess {
    RestartProcess {
        start: start.iter().map(|it| (*it).to_owned()).collect(),
        pid_file: pid_file.to_owned(),
        folder: None,
        log_file: None,
        environment: BTreeMap::new(),
        stop_signal: term(),
        stop_timeout: Span(Duration::from_millis(300)),
    }
}

#[tokio::test]
async fn a_process_is_started_replaced_and_ended() {
    let file = pid_file("sleep");
    let action = restart(&file, &["sleep", "60"]);
    super::super::run(&action, &context()).await.unwrap();
    let first = Running::of_pid_file(&file).unwrap();
    let done = super::super::run(&action, &context()).await.unwrap();
    assert!(done.summary.starts_with("it ended when asked; started as"), "{}", done.summary);
    let second = Running::of_pid_file(&file).unwrap();
    assert!(first != second && !first.is_there() && second.is_there());
    let end = EndProcess {
        pid_file: Some(file.clone()),
        command_line: None,
        stop_timeout: ten_seconds(),
    };
    super::super::run(&end, &context()).await.unwrap();
    assert!(!second.is_there());
    assert_eq!(end.act(&context()).await.unwrap_err(), "there is no such process");
    fs::remove_file(file).unwrap();
}

#[test]
fn a_process_is_gone_when_its_last_thread_is() {
    let stat = |state: &str, threads: u32| {
        format!("7 (a b) c) {state} 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 {threads} 0 42 0 0\n")
    };
    let is_there = |state, threads| Running::of_stat(7, &stat(state, threads)).is_some();
    assert_eq!(Running::of_stat(7, &stat("S", 4)), Some(Running { pid: 7, start: 42 }));
    assert!(is_there("T", 1), "one that is stopped is there");
    assert!(is_there("Z", 2), "it still has its port");
    assert!(!is_there("Z", 1) && !is_there("Z", 0) && !is_there("X", 1));
}

#[tokio::test]
async fn one_that_ends_at_once_was_not_started() {
    let file = pid_file("false");
    let error = restart(&file, &["false"]).act(&context()).await.unwrap_err();
    assert_eq!(error, "it was gone; started anew, it ended at once with exit status: 1");
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_stopped_process_that_does_not_listen_is_killed() {
    let file = pid_file("stopped");
    let action = restart(&file, &["sleep", "60"]);
    action.act(&context()).await.unwrap();
    let stuck = Running::of_pid_file(&file).unwrap();
    signal(&stuck, "STOP").await.unwrap();
    let end = EndProcess {
        pid_file: Some(file.clone()),
        command_line: None,
        stop_timeout: Span(Duration::from_millis(300)),
    };
    let done = end.act(&context()).await.unwrap();
    assert!(done.summary.contains("was killed"), "{}", done.summary);
    assert!(!stuck.is_there());
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn what_a_killed_process_had_started_ends_with_it() {
    let file = pid_file("parent");
    let script = "trap '' TERM; sleep 60 & wait; sleep 60";
    restart(&file, &["sh", "-c", script]).act(&context()).await.unwrap();
    let parent = Running::of_pid_file(&file).unwrap();
    let children = Running::children(parent.pid);
    assert_eq!(children.len(), 1);
    end(&parent, "TERM", Duration::from_millis(100)).await.unwrap();
    assert!(!parent.is_there() && !children[0].is_there());
    let wrong = RestartProcess { stop_signal: "STOP".into(), ..restart(&file, &["sh"]) };
    let error = wrong.check(&Allowed::default()).unwrap_err();
    assert_eq!(error, "`stop_signal` is `STOP`; known are TERM, INT, QUIT");
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn further_processes_are_started_up_to_a_number() {
    let file = pid_file("further");
    let more = AddProcess { start: vec!["sleep".into(), "60".into()], pid_file: file, at_most: 2 };
    more.check(&Allowed::default()).unwrap();
    let first = more.act(&context()).await.unwrap();
    assert!(first.summary.starts_with("started further process 1 of 2"), "{}", first.summary);
    more.act(&context()).await.unwrap();
    let error = more.act(&context()).await.unwrap_err();
    assert_eq!(error, "2 further processes run already");
    for n in 1..=2 {
        let file = PathBuf::from(format!("{}.{n}", more.pid_file.display()));
        let process = Running::of_pid_file(&file).unwrap();
        end(&process, "TERM", Duration::from_secs(5)).await.unwrap();
        fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let action = restart(&pid_file("none"), &["/no/such/program"]);
    let error = action.act(&context()).await.unwrap_err();
    assert!(error.starts_with("`/no/such/program`: "), "{error}");
}

#[tokio::test]
async fn a_process_is_signalled_by_its_command_line() {
    let file = pid_file("signal");
    let seconds = format!("7{}", std::process::id());
    super::super::run(&restart(&file, &["sleep", &seconds]), &context()).await.unwrap();
    let process = Running::of_pid_file(&file).unwrap();
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let send = async |signal: &str| {
        let settings = format!("command_line = 'sleep {seconds}'\nsignal = '{signal}'");
        let action: SignalProcess = toml::from_str(&settings).unwrap();
        super::super::run(&action, &context()).await
    };
    assert_eq!(send("STOP").await.unwrap().summary, "STOP sent to 1 processes");
    for _ in 0..200 {
        if state() == 'T' {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(state(), 'T');
    send("CONT").await.unwrap();
    assert!(send("NONSENSE").await.unwrap_err().contains("known are"));
    let end = format!("command_line = 'sleep {seconds}'");
    let end: EndProcess = toml::from_str(&end).unwrap();
    super::super::run(&end, &context()).await.unwrap();
    assert!(!process.is_there());
    assert_eq!(send("CONT").await.unwrap_err(), "there is no such process");
    fs::remove_file(file).unwrap();
}
