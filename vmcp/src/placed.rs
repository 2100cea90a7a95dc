//! Boxes whose content is made where it stays.
//!
//! `Box::new` and `Box::pin` may make their value on the stack and move all of it, room that nothing
//! uses yet included: of the future of a call that is most, and each line of it is fetched for that.
//! The compiler promises nothing here either; that it does it was seen in what it makes.

use std::pin::Pin;

/// The box first, then what is in it.
#[inline]
pub fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}

/// As [`boxed`], for a future.
#[inline]
pub fn pinned<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(boxed(make))
}
