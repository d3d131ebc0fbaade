/* Preloaded into a User Mode Linux kernel: lets it run on processors with more register state
 * (AMX) than it has room for. Linux wants the whole XSAVE area or nothing in PTRACE_SETREGSET, and
 * UML 6.1 knows 2696 bytes of it; so the rest is read back from the process and handed on as it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE 0x202 /* NT_X86_XSTATE */
#define HEADER 512   /* where XSTATE_BV is, a bit for each component that is in use */

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    static __thread char whole[64 << 10];
    struct iovec all = {whole, sizeof whole};
    unsigned long long before, wanted;
    long result;

    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && address == (void *)XSTATE) {
        struct iovec *given = data;
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, XSTATE, &all) == 0 &&
            all.iov_len > given->iov_len) {
            memcpy(&before, whole + HEADER, sizeof before);
            memcpy(whole, given->iov_base, given->iov_len);
            memcpy(&wanted, whole + HEADER, sizeof wanted);
            /* Components that lie past what was given keep what they have (bits 10 and up). */
            wanted = (wanted & 0x3ff) | (before & ~0x3ffULL);
            memcpy(whole + HEADER, &wanted, sizeof wanted);
            data = &all;
        }
    }
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word;
        result = syscall(SYS_ptrace, request, pid, address, &word);
        if (result >= 0) {
            errno = 0;
            result = word;
        }
        return result;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
