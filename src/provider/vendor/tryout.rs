//! One mint for the author of a recipe, with its steps written down.

use parking_lot::Mutex;

use super::{Asking, Vendor};
use crate::provider::MintInput;
use crate::provider::diagnosis::Notes;
use crate::provider::trial::Trial;

impl Vendor {
    /// Mints once by the mint of this name, and writes down each step; `None`: the recipe has no such mint.
    ///
    /// Dropped: the connection to the vendor is closed.
    pub async fn try_out(&self, mint: &str, input: &MintInput) -> Option<Trial> {
        let mint = self.0.recipe.parts.mints.iter().find(|known| known.name == mint)?;
        let (notes, steps) = (Notes::default(), Mutex::default());
        let verdict = self.0.mint(mint, input, &notes, Some(&steps)).await;
        let why = notes.into_inner().filter(|_| verdict.is_err()).map(|diagnosis| diagnosis.text);
        Some(Trial { steps: steps.into_inner(), verdict, why })
    }
}

/// Writes down what happened, where somebody wants to know.
pub(super) fn step(asking: &Asking<'_>, text: impl FnOnce() -> String) {
    if let Some(steps) = asking.steps {
        steps.lock().push(text());
    }
}
