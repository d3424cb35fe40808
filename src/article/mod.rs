//! What comes in and what goes out: the same two objects in HTTP, on the command line and in files.

mod input;
mod verdict;

pub use input::{Article, InputError, Task, limits};
pub use verdict::{Evidence, Field, Language, ModelRef, Stance, StanceScores, Topic, Usage, Verdict};
