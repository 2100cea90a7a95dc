//! The gateway in this process, over backends that a test plays: what it asks of them, and when.

mod kit;
mod old_clients;
mod streams;
mod sweep;
mod wills;
