//! `valet open`.

use std::io::IsTerminal;

use super::fortify::fortify;
use super::{End, OpenArguments, check, exit, load, runtime, say};
use crate::clock::Clock;
use crate::provider::Mint;
use crate::server::Parts;

pub(super) fn open(arguments: &OpenArguments) -> Result<(), End> {
    if !std::io::stdout().is_terminal() {
        let line = "valet: stdout is no terminal; a plug-in URL is a secret and is not written into files or pipes";
        return Err(End::new(exit::UNAVAILABLE, line));
    }
    fortify()?;
    let config = load(&arguments.config)?;
    let parts = check::parts(&config, &Clock::system())?;
    let unknown = |what: String| End::new(exit::UNAVAILABLE, format!("valet: {what}"));
    let plugin = parts.plugins.iter().find(|plugin| plugin.settings.name == arguments.plugin);
    let offer = || parts.minter.as_ref()?.offers().find(|(name, _)| *name == arguments.plugin);
    let Some(plugin) = plugin else {
        let (_, plan) = offer().ok_or_else(|| unknown(format!("no plugin is named {:?}", arguments.plugin)))?;
        return mint(&*plan.mint, &parts, arguments, parts.claim_names.len());
    };

    if check::is_remote(&parts, &plugin.settings.provider) {
        let provider = &plugin.settings.provider;
        return Err(unknown(format!("{provider:?} is minted by a minter, for sessions only: run `valet open` there")));
    }
    if let Some(language) = &arguments.language
        && !plugin.settings.languages.iter().any(|known| known.eq_ignore_ascii_case(language))
    {
        return Err(unknown(format!("{language:?} is none of the plugin's languages")));
    }
    mint(&*plugin.mint, &parts, arguments, plugin.claim_count)
}

fn mint(mint: &dyn Mint, parts: &Parts, arguments: &OpenArguments, claim_count: usize) -> Result<(), End> {
    let unknown = |what: String| End::new(exit::UNAVAILABLE, format!("valet: {what}"));
    let mut input = check::canary(&arguments.subject, arguments.language.as_deref(), claim_count);
    input.claims.iter_mut().for_each(|claim| *claim = None);
    for claim in &arguments.claims {
        let (name, value) = claim.split_once('=').ok_or_else(|| unknown(format!("{claim:?} is not NAME=VALUE")))?;
        let place = parts.claim_names.iter().position(|known| known == name);
        let place = place.and_then(|place| input.claims.get_mut(place));
        *place.ok_or_else(|| unknown(format!("no recipe asks for the claim {name:?}")))? = Some(value.into());
    }
    match runtime(1)?.block_on(mint.mint(&input)) {
        // The operator asked for it, at a terminal.
        Ok(minted) => say(minted.url.expose()),
        Err(failure) => return Err(unknown(check::told(failure, mint))),
    }
    Ok(())
}
