//! The pages for people: templates in `src/web/templates`, filled from samples.
//!
//! askama compiles the templates with the program and escapes every value in them. What a template
//! shows is prepared here as text, so that a template has no logic beyond its structure. Nothing is
//! loaded from elsewhere, and links are relative: a proxy may serve the pages under another path.
//! Each page is complete without its script, which fetches the page again and updates the elements
//! that have changed.

mod frame;
mod graph;
mod list;
mod refusal;
mod responder;
mod target;
mod text;

pub(super) use list::List;
pub(super) use refusal::refusal;
pub(super) use responder::responder;
pub(super) use target::target;

#[cfg(test)]
mod tests;
