//! The plugin against a fake daemon, without starting a process: what the runtimes really sent, every bad input, every
//! version, and releases while the daemon is away.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod libcni;
#[cfg(test)]
mod portmap;
#[cfg(test)]
mod process;
#[cfg(test)]
mod release;
#[cfg(test)]
mod results;
#[cfg(test)]
mod runtime;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod verbs;
