//! `valet open`.

use std::io::IsTerminal;

use super::fortify::fortify;
use super::{End, OpenArguments, check, exit, load, runtime, say};
use crate::clock::Clock;
use crate::lease::{Asked, Parameters, Unlisted};
use crate::provider::{Mint, MintInput};
use crate::server::{Components, Plugin};

pub(super) fn open(arguments: &OpenArguments) -> Result<(), End> {
    if !std::io::stdout().is_terminal() {
        let line = "valet: stdout is no terminal; a plug-in URL is a secret and is not written into files or pipes";
        return Err(End::new(exit::UNAVAILABLE, line));
    }
    fortify()?;
    let config = load(&arguments.config)?;
    let components = check::components(&config, &Clock::system())?;
    let unknown = |what: String| End::new(exit::UNAVAILABLE, format!("valet: {what}"));
    let plugin = components.plugins.iter().find(|plugin| plugin.settings.name == arguments.plugin);
    let offer = || components.minter.as_ref()?.offers().find(|(name, _)| *name == arguments.plugin);
    let Some(plugin) = plugin else {
        let (_, plan) = offer().ok_or_else(|| unknown(format!("no plugin is named {:?}", arguments.plugin)))?;
        let unnamed = Parameters::default().of_query(None);
        return mint(&*plan.mint, &components, arguments, (components.claim_names.len(), unnamed.unwrap_or_default()));
    };

    if check::is_remote(&components, &plugin.settings.provider) {
        let provider = &plugin.settings.provider;
        return Err(unknown(format!("{provider:?} is minted by a minter, for sessions only: run `valet open` there")));
    }
    if let Some(language) = &arguments.language
        && !plugin.settings.languages.iter().any(|known| known.eq_ignore_ascii_case(language))
    {
        return Err(unknown(format!("{language:?} is none of the plugin's languages")));
    }
    let parameters = parameters(plugin, arguments)?;
    mint(&*plugin.mint, &components, arguments, (plugin.claim_count, parameters))
}

/// As a query would name them.
pub(super) fn parameters(plugin: &Plugin, arguments: &OpenArguments) -> Result<Asked, End> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for parameter in &arguments.parameters {
        let pair = parameter.split_once('=');
        let (name, value) =
            pair.ok_or_else(|| End::new(exit::UNAVAILABLE, format!("valet: {parameter:?} is not NAME=VALUE")))?;
        query.append_pair(name, value);
    }
    Parameters::new(&plugin.settings.parameters).of_query(Some(&query.finish())).map_err(|Unlisted| {
        let names: Vec<&str> = plugin.settings.parameters.keys().map(String::as_str).collect();
        let line = format!(
            "valet: name each of the plugin's parameters once, with a value that it lists: {}",
            names.join(", ")
        );
        End::new(exit::UNAVAILABLE, line)
    })
}

fn mint(
    mint: &dyn Mint,
    components: &Components,
    arguments: &OpenArguments,
    (claim_count, parameters): (usize, Asked),
) -> Result<(), End> {
    let unknown = |what: String| End::new(exit::UNAVAILABLE, format!("valet: {what}"));
    let input = input(components, arguments, claim_count, parameters)?;
    match runtime(1)?.block_on(mint.mint(&input)) {
        // The operator asked for it, at a terminal.
        Ok(minted) => say(minted.url.expose()),
        Err(failure) => return Err(unknown(check::told(failure, mint))),
    }
    Ok(())
}

/// Whom the command line names.
pub(super) fn input(
    components: &Components,
    arguments: &OpenArguments,
    claim_count: usize,
    parameters: Asked,
) -> Result<MintInput, End> {
    let unknown = |what: String| End::new(exit::UNAVAILABLE, format!("valet: {what}"));
    let mut input = check::canary(&arguments.subject, arguments.language.as_deref(), claim_count);
    input.claims.iter_mut().for_each(|claim| *claim = None);
    input.parameters = parameters;
    for claim in &arguments.claims {
        let (name, value) = claim.split_once('=').ok_or_else(|| unknown(format!("{claim:?} is not NAME=VALUE")))?;
        let place = components.claim_names.iter().position(|known| known == name);
        let place = place.and_then(|place| input.claims.get_mut(place));
        *place.ok_or_else(|| unknown(format!("no recipe asks for the claim {name:?}")))? = Some(value.into());
    }
    Ok(input)
}
