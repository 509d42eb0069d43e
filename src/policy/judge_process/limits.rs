//! What a judge process forbids itself. Each of it is one way: it cannot be taken back.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::policy::pool::STACK;

/// Address space. The stack alone takes 64 MiB of it, a second one while a bundle is loaded.
pub(crate) const MEMORY: u64 = 1 << 30;
/// CPU time of one control: twice what one of its rules may take ([`crate::policy::TIME_LIMIT`]).
pub(crate) const CPU: Duration = Duration::from_secs(10);
/// CPU time for loading a bundle. Admission bounds each file to about a second of parsing.
pub(crate) const LOAD_CPU: Duration = Duration::from_secs(60);
/// Open files: the three pipes, and a few while it starts.
const FILES: u64 = 16;

const _: () = assert!(MEMORY > 4 * STACK as u64);

/// Limits this process and has it killed with its parent. `Err`: why system calls are not filtered;
/// the limits hold all the same.
pub(crate) fn contain() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        // With the thread that started this process; it lives as long as the pool does.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        // If the whole machine runs out of memory, this process is the one to go.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    let hard = |n| Rlimit { current: Some(n), maximum: Some(n) };
    for (resource, limit) in [
        (Resource::As, hard(MEMORY)),
        (Resource::Core, hard(0)),
        (Resource::Fsize, hard(0)),
        (Resource::Nofile, hard(FILES)),
    ] {
        // A limit that is lower already may stay: raising it is refused.
        let _ = setrlimit(resource, limit);
    }
    allow_cpu(CPU);
    filter()
}

/// From now on, this much CPU time (rounded up to whole seconds) until the next call. Then SIGXCPU.
pub(crate) fn allow_cpu(more: Duration) {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec;
    let until = u64::try_from(used).unwrap_or(0) + more.as_secs() + 1;
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(until), maximum: None });
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
fn filter() -> Result<(), String> {
    Err("there is no filter of system calls for this system".to_owned())
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
use filter::filter;

/// A list of the system calls that judging needs. Every other answers "there is no such call": opening
/// a file, making a socket, starting a program or process, executable memory.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod filter {
    use std::collections::BTreeMap;

    use seccompiler::{
        BackendError, BpfProgram, SeccompAction,
        SeccompCmpArgLen::{Dword, Qword},
        SeccompCmpOp::{self, Eq, MaskedEq},
        SeccompCondition, SeccompFilter, SeccompRule,
    };

    /// Whatever they are given, they reach nothing outside of this process.
    const HARMLESS: &[i64] = &[
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
    ];

    pub(super) fn filter() -> Result<(), String> {
        let program = program().map_err(|e| e.to_string())?;
        seccompiler::apply_filter(&program).map_err(|e| e.to_string())
    }

    fn program() -> Result<BpfProgram, BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            HARMLESS.iter().map(|call| (*call, vec![])).collect();
        let pipe = |fd| on(&[(0, Eq, fd)]);
        let no_code = on(&[(2, MaskedEq(exec()), 0)])?;
        // A descriptor that somebody let this process inherit cannot be used.
        rules.insert(libc::SYS_read, vec![pipe(0)?]);
        rules.insert(libc::SYS_write, vec![pipe(1)?, pipe(2)?]);
        rules.insert(libc::SYS_writev, vec![pipe(1)?, pipe(2)?]);
        rules.insert(libc::SYS_mmap, vec![no_code.clone()]);
        rules.insert(libc::SYS_mprotect, vec![no_code]);
        // Threads, no processes. `clone3` hides its flags; libc then takes `clone`.
        let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
        rules.insert(libc::SYS_clone, vec![on(&[(0, MaskedEq(thread), thread)])?]);
        // Its own CPU limit; `abort`.
        rules.insert(libc::SYS_prlimit64, vec![on(&[(0, Eq, 0)])?]);
        rules.insert(libc::SYS_tgkill, vec![on(&[(0, Eq, u64::from(std::process::id()))])?]);
        let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, no_such_call, SeccompAction::Allow, arch)?.try_into()
    }

    fn exec() -> u64 {
        u64::from(libc::PROT_EXEC.unsigned_abs())
    }

    /// Arguments that all must be so. Descriptors, pids and modes are 32 bits; the flags of `clone` 64.
    fn on(arguments: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
        let condition = |(at, op, value): &(u8, SeccompCmpOp, u64)| {
            let size = if matches!(op, MaskedEq(_)) { Qword } else { Dword };
            SeccompCondition::new(*at, size, op.clone(), *value)
        };
        SeccompRule::new(arguments.iter().map(condition).collect::<Result<_, _>>()?)
    }
}

#[cfg(all(
    test,
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod tests {
    use std::{env, fs, net, os::unix::net::UnixStream, process::Command, thread};

    /// What a policy that got out of the interpreter would try. `true`: it worked.
    fn escapes() -> Vec<(&'static str, bool)> {
        vec![
            ("read a file", fs::read("/etc/passwd").is_ok()),
            ("write a file", fs::write(env::temp_dir().join("gatelog-escaped"), "x").is_ok()),
            ("list a folder", fs::read_dir("/").is_ok()),
            ("remove a file", fs::remove_file(env::temp_dir().join("gatelog-escaped")).is_ok()),
            ("listen", net::TcpListener::bind("127.0.0.1:0").is_ok()),
            ("send", net::UdpSocket::bind("127.0.0.1:0").is_ok()),
            ("local socket", UnixStream::pair().is_ok()),
            ("start a program", Command::new("/bin/true").status().is_ok()),
            ("open a pipe", std::io::pipe().is_ok()),
        ]
    }

    #[test]
    #[ignore = "run as a process of its own"]
    fn contained_child() {
        let before = escapes();
        super::contain().unwrap();
        for ((what, free), (_, contained)) in before.into_iter().zip(escapes()) {
            println!("\n{what}: {free} {contained}");
        }
        println!("\nthread: {}", thread::spawn(|| 1).join().is_ok());
    }

    /// Each of these works for a process of its own, and no longer once it is contained.
    #[test]
    fn nothing_outside_can_be_reached() {
        let out = Command::new(env::current_exe().unwrap())
            .args([
                "policy::judge_process::limits::tests::contained_child",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        for (what, _) in escapes() {
            assert!(said.contains(&format!("\n{what}: true false\n")), "{what}\n{said}");
        }
        assert!(said.contains("\nthread: true\n"), "{said}");
    }
}
