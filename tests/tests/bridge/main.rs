//! Requests for input through a real gateway process, in every pair of eras.

mod kit;
mod legacy_client;
mod modern_client;
mod other_methods;
mod outside;
mod partial;
mod tasks;
