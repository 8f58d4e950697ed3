//! `valet recipe`.

use clap::Subcommand;

use super::fortify::fortify;
use super::{End, OpenArguments, check, exit, load, open, runtime, say};
use crate::clock::Clock;
use crate::provider::{Provider, Trial};
use crate::server::rules;

/// What is done with a recipe.
#[derive(Debug, Subcommand)]
pub(super) enum RecipeCommand {
    /// Make a plug-in's calls once, against a vendor's sandbox, and tell each step: statuses, the pointers that were found, the life that was read. Never a
    /// secret, a URL or a value of an answer.
    Try(OpenArguments),
}

pub(super) fn recipe(command: &RecipeCommand) -> Result<(), End> {
    let RecipeCommand::Try(arguments) = command;
    fortify()?;
    let (config, clock) = (load(&arguments.config)?, Clock::system());
    let components = check::components(&config, &clock)?;
    let unknown = |what: String| End::new(exit::UNAVAILABLE, format!("valet: {what}"));
    let plugin = components.plugins.iter().find(|plugin| plugin.settings.name == arguments.plugin);
    let plugin = plugin.ok_or_else(|| unknown(format!("no plugin is named {:?}", arguments.plugin)))?;
    let provider = components.providers.iter().find(|provider| provider.name() == plugin.settings.provider);
    let Some(Provider::Vendor(vendor)) = provider else {
        let provider = &plugin.settings.provider;
        return Err(unknown(format!("{provider:?} is minted by a minter: run `valet recipe try` there")));
    };
    let parameters = open::parameters(plugin, arguments)?;
    let input = open::input(&components, arguments, plugin.claim_count, parameters)?;
    let tried = runtime(1)?.block_on(vendor.try_out(&plugin.settings.mint, &input));
    let Trial { steps, verdict, why } = tried.ok_or_else(|| unknown("the recipe has no such mint".into()))?;
    steps.iter().for_each(|step| say(step));
    match verdict {
        Ok(minted) => {
            let rules = rules(&plugin.settings, &config.providers);
            say(&format!("minted: {}", check::life(&minted, &clock, &rules)));
            Ok(())
        }
        Err(failure) => {
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            Err(unknown(check::explain(failure) + &why))
        }
    }
}
