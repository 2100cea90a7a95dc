//! What the behaviour tests of vmcp are made of.
//!
//! Owns the harnesses that several tests share: the real Kubernetes control plane, the programs
//! that they start, the scriptable backend, the readers of this checkout. It must never be used by
//! a program that is shipped. A harness is no test: it reports errors, and the test decides.

pub mod backend;
pub mod conformance;
pub mod controlplane;
pub mod drip;
pub mod events;
pub mod eventually;
pub mod http;
pub mod imports;
pub mod peers;
pub mod process;
pub mod raw;
pub mod sources;
pub mod stack;
pub mod talk;
pub mod tools;
