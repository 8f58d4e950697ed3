//! What keeps a key in the process that holds it.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{End, exit};

/// No core file, and no other process of the same user that reads this one's memory (`/proc/PID/mem`, ptrace). Root still can.
pub(super) fn fortify() -> Result<(), End> {
    let fault = |fault: String| End::new(exit::SOFTWARE, format!("valet: core files can't be turned off: {fault}"));
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing).map_err(|cause| fault(cause.to_string()))?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|cause| fault(cause.to_string()))?;
    }
    Ok(())
}
