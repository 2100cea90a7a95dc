//! Maps in which each request is looked up.
//!
//! Owns their hasher. The keys are ids of sessions, two hundred bytes of what we sealed ourselves, and
//! names from objects: nobody outside chooses what is put in, so speed counts and not the strength of
//! the hash. Never for keys that a client makes up.

use std::collections::HashMap;

use foldhash::fast::RandomState;

pub type Table<K, V> = HashMap<K, V, RandomState>;
