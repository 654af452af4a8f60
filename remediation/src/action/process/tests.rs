use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    time::SystemTime,
};

use super::*;

fn context() -> Context {
    let timeout = Duration::from_secs(20);
    Context::new("k", Allowed::default(), timeout, Default::default())
}

fn pid_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pipenotify-{name}-{}.pid", std::process::id()))
}

fn named(pid_file: &Path) -> Running {
    Running::of_pid_file(pid_file, &[]).unwrap().unwrap()
}

fn restart(pid_file: &Path, start: &[&str]) -> RestartProcess {
    RestartProcess {
        start: start.iter().map(|it| (*it).to_owned()).collect(),
        pid_file: pid_file.to_owned(),
        command_line: None,
        folder: None,
        log_file: None,
        environment: BTreeMap::new(),
        user: User::default(),
        stop_signal: term(),
        stop_timeout: Span(Duration::from_millis(300)),
    }
}

#[tokio::test]
async fn a_process_is_started_replaced_and_ended() {
    let file = pid_file("sleep");
    let action = restart(&file, &["sleep", "60"]);
    super::super::run(&action, &context()).await.unwrap();
    let first = named(&file);
    let done = super::super::run(&action, &context()).await.unwrap();
    assert!(done.summary.starts_with("it ended when asked; started as"), "{}", done.summary);
    let second = named(&file);
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
    let stuck = named(&file);
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
    let parent = named(&file);
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
    let more = AddProcess {
        start: vec!["sleep".into(), "60".into()],
        pid_file: file,
        at_most: 2,
        user: User::default(),
    };
    more.check(&Allowed::default()).unwrap();
    let first = more.act(&context()).await.unwrap();
    assert!(first.summary.starts_with("started further process 1 of 2"), "{}", first.summary);
    more.act(&context()).await.unwrap();
    let error = more.act(&context()).await.unwrap_err();
    assert_eq!(error, "2 further processes run already");
    for n in 1..=2 {
        let file = PathBuf::from(format!("{}.{n}", more.pid_file.display()));
        let process = named(&file);
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
    let process = named(&file);
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

/// A process that is nobody's business here; it ends with this.
struct Innocent(std::process::Child);

impl Innocent {
    fn new() -> Self {
        let it = std::process::Command::new("sleep").arg("61").spawn().unwrap();
        // Its command line comes a moment after its program.
        while fs::read(format!("/proc/{}/cmdline", it.id())).unwrap() != b"sleep\x0061\0" {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(it)
    }

    fn is_there(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn end_of(pid_file: &Path) -> EndProcess {
    let pid_file = Some(pid_file.to_owned());
    EndProcess { pid_file, command_line: None, stop_timeout: ten_seconds() }
}

#[tokio::test]
async fn a_number_that_came_round_again_does_not_end_who_has_it_now() {
    let (file, mut innocent) = (pid_file("stale"), Innocent::new());
    fs::write(&file, format!("{}\n", innocent.0.id())).unwrap();
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let written = File::options().write(true).open(&file).unwrap();
    written.set_modified(an_hour_ago).unwrap();
    let error = end_of(&file).act(&context()).await.unwrap_err();
    assert_eq!(error, "there is no such process");
    // The clock was set, and it is just what is started here.
    let start = ["sleep".to_owned(), "61".to_owned()];
    assert!(Running::of_pid_file(&file, &start).unwrap().is_some());
    let done = restart(&file, &["sleep", "60"]).act(&context()).await.unwrap();
    assert!(done.summary.starts_with("it was gone; started as"), "{}", done.summary);
    assert!(innocent.is_there());
    end_of(&file).act(&context()).await.unwrap();
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_file_that_names_the_wrong_process_ends_nobody() {
    let (file, mut innocent) = (pid_file("wrong"), Innocent::new());
    fs::write(&file, format!("{}\n", innocent.0.id())).unwrap();
    let named = format!("{} names process {}", file.display(), innocent.0.id());
    let error = restart(&file, &["tail", "-f", "/dev/null"]).act(&context()).await.unwrap_err();
    let why = ", which runs `sleep` and is not what `start` starts; if it is right, say in \
               `command_line` what its command line has";
    assert_eq!(error, format!("{named}{why}"));
    let end = |text: &str| EndProcess { command_line: Some(text.into()), ..end_of(&file) };
    let error = end("tail -f").act(&context()).await.unwrap_err();
    let why = ", which runs `sleep` and has no `tail -f` in its command line";
    assert_eq!(error, format!("{named}{why}"));
    assert!(innocent.is_there());
    // Whoever says what is right there is believed.
    let right = RestartProcess {
        command_line: Some("sleep 61".into()),
        ..restart(&file, &["tail", "-f", "/dev/null"])
    };
    right.act(&context()).await.unwrap();
    assert!(!innocent.is_there());
    end_of(&file).act(&context()).await.unwrap();
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn ourselves_the_first_process_and_who_started_us_are_never_touched() {
    let file = pid_file("ours");
    for pid in [1, std::process::id(), std::os::unix::process::parent_id()] {
        fs::write(&file, format!("{pid}\n")).unwrap();
        for error in [
            end_of(&file).act(&context()).await.unwrap_err(),
            restart(&file, &["sleep", "60"]).act(&context()).await.unwrap_err(),
        ] {
            assert!(error.ends_with(&format!("names process {pid}, which is never touched")));
        }
    }
    let thread = fs::read_dir("/proc/self/task").unwrap().flatten();
    let thread = thread.filter_map(|it| it.file_name().into_string().ok()?.parse::<u32>().ok());
    let thread = thread.max().unwrap();
    assert_ne!(thread, std::process::id(), "the test runs in a thread of its own");
    fs::write(&file, format!("{thread}\n")).unwrap();
    assert_eq!(end_of(&file).act(&context()).await.unwrap_err(), "there is no such process");
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn nobody_is_started_who_cannot_be_written_down_and_nobody_ended_then() {
    let folder = pid_file("folder");
    let file = folder.join("none.pid");
    let seconds = format!("8{}", std::process::id());
    let action = restart(&file, &["sleep", &seconds]);
    let error = action.act(&context()).await.unwrap_err();
    assert!(error.starts_with("its pid file cannot be written, so nothing was done"), "{error}");
    assert_eq!(Running::of_command_line(&format!("sleep {seconds}")).unwrap(), []);
    // What goes wrong only then does not leave it behind.
    let error = action.start(None).await.err().unwrap();
    assert!(error.starts_with("its pid file cannot be written, so it was ended"), "{error}");
    assert_eq!(Running::of_command_line(&format!("sleep {seconds}")).unwrap(), []);
    // A link in its place leads nowhere.
    fs::create_dir(&folder).unwrap();
    let elsewhere = folder.join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, &file).unwrap();
    action.act(&context()).await.unwrap_err();
    assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn one_that_goes_into_the_background_is_known_by_the_number_it_writes() {
    let file = pid_file("daemon");
    let script = format!("sleep 60 & (sleep 0.1; echo $! > {})", file.display());
    let done = restart(&file, &["sh", "-c", &script]).act(&context()).await.unwrap();
    let daemon = named(&file);
    let said = format!("it was gone; started as process {}", daemon.pid);
    assert_eq!(done.summary, said);
    end_of(&file).act(&context()).await.unwrap();
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn who_is_replaced_runs_as_the_same_user_and_stays_so() {
    if user::ours() != 0 {
        return; // Only the administrator may be somebody else.
    }
    let file = pid_file("whom");
    let by_user = RestartProcess { user: User::Number(65_534), ..restart(&file, &["sleep", "60"]) };
    by_user.act(&context()).await.unwrap();
    let user = || named(&file).whom().unwrap().user;
    assert_eq!(user(), 65_534);
    // Of whom it was is known from the process, and from the file once that is gone.
    let again = restart(&file, &["sleep", "60"]);
    chown(&file, Some(0), Some(0)).unwrap();
    again.act(&context()).await.unwrap();
    assert_eq!((user(), fs::metadata(&file).unwrap().uid()), (65_534, 65_534));
    end_of(&file).act(&context()).await.unwrap();
    again.act(&context()).await.unwrap();
    assert_eq!(user(), 65_534);
    // Whoever may write the file names nobody else's process.
    let mut innocent = Innocent::new();
    end_of(&file).act(&context()).await.unwrap();
    fs::write(&file, innocent.0.id().to_string()).unwrap();
    let error = end_of(&file).act(&context()).await.unwrap_err();
    assert!(error.contains("which is of another user than the file"), "{error}");
    assert!(innocent.is_there());
    fs::remove_file(file).unwrap();
}
