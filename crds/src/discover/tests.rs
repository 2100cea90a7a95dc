//! What `discover` promises, by example and by property.
