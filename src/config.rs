//! Where things are: flags over environment over `.env`; secrets stay hidden.

pub mod environment;
pub mod url;

pub use environment::{Settings, SettingsInput, load};
