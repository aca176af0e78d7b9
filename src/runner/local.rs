//! Child processes of this machine.
