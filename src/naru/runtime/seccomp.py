"""The default seccomp profile, with Docker's semantics.

It is an allow-list; anything else gets EPERM. What it leaves out, and why:

- what changes the machine, not the container: kernel modules, kexec, swap, clocks, reboot, quotas,
  the kernel's key rings and log;
- what makes or enters namespaces or mounts (unshare, setns, mount, clone with CLONE_NEW*): a large
  attack surface of the kernel. `clone3`, whose flags a filter cannot see, gets ENOSYS instead, so
  that libc falls back to `clone`;
- what looks into other processes without CAP_SYS_PTRACE on kernels whose ptrace could step around
  seccomp (before 4.8);
- what is obsolete, or has had many holes: io_uring, userfaultfd, vm86, uselib.

A capability that is granted brings its calls back.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from naru.runtime import seccomp_limits
from naru.runtime.seccomp_machine import ARCHITECTURES, architecture, kernel

_ENOSYS = 38
_EPERM = 1
_AF_VSOCK = 40
_PERSONALITIES = (
    0x0,  # PER_LINUX
    0x0008,  # PER_LINUX32
    0x20000,  # PER_LINUX with UNAME26
    0x20008,  # PER_LINUX32 with UNAME26
    0xFFFFFFFF,  # only ask
)
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET: all but NEWTIME, whose bit
# is part of the exit signal in clone.
_CLONE_NAMESPACES = 0x7E020000


def _names(*lines: str) -> tuple[str, ...]:
    return tuple(name for line in lines for name in line.split())


_FILES = _names(
    "open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv",
    "pwritev preadv2 pwritev2 lseek _llseek dup dup2 dup3 fcntl fcntl64 flock ioctl pipe pipe2",
    "sendfile sendfile64 splice tee vmsplice copy_file_range readahead fadvise64 fadvise64_64",
    "fallocate truncate truncate64 ftruncate ftruncate64 sync syncfs fsync fdatasync",
    "sync_file_range access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64",
    "fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 getdents getdents64",
    "chdir fchdir getcwd mkdir mkdirat rmdir rename renameat renameat2 link linkat symlink",
    "symlinkat readlink readlinkat unlink unlinkat mknod mknodat chmod fchmod fchmodat fchmodat2",
    "chown chown32 fchown fchown32 fchownat lchown lchown32 umask utime utimes futimesat",
    "utimensat utimensat_time64 name_to_handle_at cachestat",
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr",
    "llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat",
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
    "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64",
)
_WAITING = _names(
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create",
    "epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2",
    "eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_settime64",
    "timerfd_gettime timerfd_gettime64",
)
_MEMORY = _names(
    "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock",
    "munlockall remap_file_pages memfd_create memfd_secret membarrier pkey_alloc pkey_free",
    "pkey_mprotect map_shadow_stack mseal",
)
_PROCESSES = _names(
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid",
    "getpgid getpgrp setpgid getsid setsid set_tid_address pause prctl kill tkill tgkill",
    "pidfd_open pidfd_send_signal process_mrelease rt_sigaction rt_sigpending rt_sigprocmask",
    "rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait",
    "rt_sigtimedwait_time64 sigaltstack sigprocmask sigreturn restart_syscall rseq seccomp",
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    "get_thread_area set_thread_area get_robust_list set_robust_list futex futex_time64",
    "futex_waitv futex_wait futex_wake futex_requeue uretprobe",
)
_SCHEDULING = _names(
    "getpriority setpriority ioprio_get ioprio_set getcpu sched_yield sched_getaffinity",
    "sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam",
    "sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min",
    "sched_rr_get_interval sched_rr_get_interval_time64 getrlimit ugetrlimit setrlimit",
    "prlimit64 getrusage times",
)
_IDENTITY = _names(
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32",
    "getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid",
    "setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid",
    "setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset uname sysinfo getrandom",
)
_TIME = _names(
    "time gettimeofday nanosleep alarm getitimer setitimer adjtimex clock_adjtime",
    "clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64",
    "clock_nanosleep clock_nanosleep_time64 timer_create timer_delete timer_getoverrun",
    "timer_gettime timer_gettime64 timer_settime timer_settime64",
)
_SOCKETS = _names(
    "socketpair socketcall bind listen accept accept4 connect getsockname getpeername",
    "getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg",
    "recvmmsg_time64 shutdown",
)
_IPC = _names(
    "ipc shmget shmat shmdt shmctl semget semop semtimedop semtimedop_time64 semctl msgget",
    "msgsnd msgrcv msgctl mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend",
    "mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64",
)
_ALWAYS = (
    *_FILES,
    *_WAITING,
    *_MEMORY,
    *_PROCESSES,
    *_SCHEDULING,
    *_IDENTITY,
    *_TIME,
    *_SOCKETS,
    *_IPC,
)
_PTRACE = _names("ptrace process_vm_readv process_vm_writev")
_BY_ARCHITECTURE = {
    "amd64": _names("arch_prctl modify_ldt"),
    "386": _names("modify_ldt"),
    "arm64": _names(
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
    ),
    "arm": _names(
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
    ),
    "ppc64le": _names("sync_file_range2 swapcontext"),
    "s390x": _names("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    "riscv64": _names("riscv_flush_icache"),
}
_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": _names("open_by_handle_at"),
    "CAP_SYS_ADMIN": _names(
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie",
        "mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd",
        "setdomainname sethostname setns statmount syslog umount umount2 unshare",
    ),
    "CAP_SYS_BOOT": _names("reboot"),
    "CAP_SYS_CHROOT": _names("chroot"),
    "CAP_SYS_MODULE": _names("delete_module init_module finit_module"),
    "CAP_SYS_PACCT": _names("acct"),
    "CAP_SYS_PTRACE": (*_PTRACE, *_names("kcmp pidfd_getfd process_madvise")),
    "CAP_SYS_RAWIO": _names("iopl ioperm"),
    "CAP_SYS_TIME": _names("settimeofday stime clock_settime clock_settime64"),
    "CAP_SYS_TTY_CONFIG": _names("vhangup"),
    "CAP_SYS_NICE": _names("get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    "CAP_SYSLOG": _names("syslog"),
    "CAP_BPF": _names("bpf"),
    "CAP_PERFMON": _names("perf_event_open"),
}


def default_profile(
    capabilities: Collection[str], arch: str | None = None, *, limited: bool = False
) -> dict[str, Any]:
    """The OCI `linux.seccomp` for a container with these capabilities.

    `arch` is Go's or the kernel's name (amd64, x86_64); this machine's when None. `limited`: with
    a limit of its disk space, which it may not step out of.
    """
    arch = architecture(arch)
    allowed = [*_ALWAYS, *_BY_ARCHITECTURE.get(arch, ())]
    if limited:
        allowed.remove("ioctl")
    if kernel() >= (4, 8):
        allowed += _PTRACE
    for capability, names in _BY_CAPABILITY.items():
        if capability in capabilities:
            allowed += names
    rules = [
        _allow(dict.fromkeys(allowed)),
        _allow(["socket"], _compare(0, _AF_VSOCK, "SCMP_CMP_NE")),
        *(_allow(["personality"], _compare(0, value)) for value in _PERSONALITIES),
    ]
    if limited:
        rules += [
            _allow(["ioctl"], {**_compare(1, mask, "SCMP_CMP_MASKED_EQ"), "valueTwo": value})
            for mask, value in seccomp_limits.all_but(seccomp_limits.ESCAPES)
        ]
    if "CAP_SYS_ADMIN" not in capabilities:
        # s390 has the flags in the second argument.
        flags = 1 if arch == "s390x" else 0
        namespaces = _compare(flags, _CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ")
        rules.append(_allow(["clone"], namespaces))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [f"SCMP_ARCH_{name}" for name in ARCHITECTURES.get(arch, ())],
        "syscalls": rules,
    }


def _allow(names: Collection[str], *comparisons: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    if comparisons:
        rule["args"] = list(comparisons)
    return rule


def _compare(index: int, value: int, operator: str = "SCMP_CMP_EQ") -> dict[str, Any]:
    return {"index": index, "value": value, "op": operator}
