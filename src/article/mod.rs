//! What comes in and what goes out: the same two objects in HTTP, on the command line and in files.

mod input;
mod labels;
mod verdict;

pub use input::{Article, InputError, Task, limits};
pub use labels::{ExplainedLabel, Label, SLOT, is_template};
pub use verdict::{Evidence, Field, Language, ModelRef, Stance, StanceScores, Topic, Usage, Verdict};
