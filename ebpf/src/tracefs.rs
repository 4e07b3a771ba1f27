//! tracefs, which has the ids of system call tracepoints; they are needed only while programs are attached.
//!
//! Where it is not mounted, it is mounted in the private mount namespace of one thread, so nothing of it is left on
//! the machine.

use std::io;
use std::path::Path;
use std::ptr;
use std::thread;

const MOUNT_POINT: &std::ffi::CStr = c"/sys/kernel/tracing";
const EVENTS: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];

fn is_mounted() -> bool {
    EVENTS.iter().any(|events| Path::new(events).exists())
}

/// Runs `work` where tracefs can be read: here, or on a thread that has it mounted for itself alone. `work` gets the
/// error when that is not possible.
pub(crate) fn with_tracefs<T: Send>(work: impl FnOnce(io::Result<()>) -> T + Send) -> T {
    if is_mounted() {
        return work(Ok(()));
    }
    thread::scope(|scope| {
        let thread = scope.spawn(|| work(mount_privately()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn mount_privately() -> io::Result<()> {
    let checked = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: changes the mount namespace, root and working directory of the calling thread only, which ends after
    // its work; other threads share nothing of these with it afterwards.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: a NUL-ended path and null pointers where mount(2) takes none; the namespace is this thread's own.
    checked(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()) })?;
    // SAFETY: NUL-ended strings; the mount is private by the call before, so no other namespace sees it.
    checked(unsafe { libc::mount(c"tracefs".as_ptr(), MOUNT_POINT.as_ptr(), c"tracefs".as_ptr(), 0, ptr::null()) })
}
