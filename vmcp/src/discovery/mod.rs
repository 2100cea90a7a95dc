//! Where the desired state comes from.
//!
//! Owns the translation of the API's objects into what the registry wants to know, and the two
//! sources of those objects: files and Kubernetes. Never keeps health and never publishes: it hands
//! the registry a whole desired state, again and again.

pub mod cache;
pub mod check;
pub mod desired;
pub mod files;
pub mod kube;
pub mod load;
pub mod node;
pub mod peers;
mod rules;
mod services;
