//! Credential → session. An input becomes a request or a token (`input`), Valet judges it, and so does an independent reading (`model`):
//! they must agree on whether a session opens, whose it is, and from when until when.

mod input;
pub mod issuers;
mod keys;
mod model;
mod reading;
mod world;

use input::{Input, Mode};
use issuers::Signer;
use keys::compact;
use model::Expected;
use world::World;

thread_local! {
    static WORLD: World = World::new();
}

/// Panics where the two don't agree. Whether the input says anything that can be judged.
pub fn run(bytes: &[u8]) -> bool {
    let Some(input) = Input::read(bytes) else { return false };
    WORLD.with(|world| judge(world, &input));
    true
}

fn judge(world: &World, input: &Input<'_>) {
    world.let_the_cool_down_pass();
    match input.mode {
        Mode::Raw => raw(world, input),
        Mode::Signed => {
            let signer = Signer::of(input.who);
            let (header, payload) = input.header_and_payload();
            let token = compact(header, payload, |signed| world.keys.sign(signer, signed));
            world.check(&token, input.now, &model::judge(signer, header, payload, token.len(), input.now));
        }
        Mode::Mutated => {
            let good = world.good(Signer::of(input.who));
            // What is remembered of the good one must not open the other.
            world.remember(&good.token);
            let token = input::edited(&good.token, input.rest, |who| &world.good(Signer::of(who)).token);
            world.check(&token, input.now, &known(world, &token, input.now));
        }
        Mode::Forged => {
            let (header, payload) = input.header_and_payload();
            let token = compact(header, payload, |signed| world.forge(input.who, signed));
            world.check(&token, input.now, &known(world, &token, input.now));
        }
    }
}

/// A request's header fields, and each credential in them.
fn raw(world: &World, input: &Input<'_>) {
    let fields = input.fields(|who| &world.good(Signer::of(who)).token);
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let found = world.sources.read(fields.iter().copied());
    let expected = reading::read(&fields);
    assert_eq!(found.is_err(), expected.is_none(), "ambiguous for one reading only: {fields:?}");
    let (Ok(found), Some(expected)) = (found, expected) else { return };
    let credentials: Vec<_> = found.credentials.iter().map(|one| (one.token.to_vec(), one.from)).collect();
    assert_eq!(credentials, expected.credentials, "{fields:?}");
    assert_eq!((found.other_scheme, found.malformed), (expected.other_scheme, expected.malformed), "{fields:?}");
    for (token, _) in &credentials {
        world.check(token, input.now, &known(world, token, input.now));
    }
}

/// What must come of a token that nobody signed in this run: nothing, unless it is byte for byte a good one.
fn known(world: &World, token: &[u8], now: i64) -> Expected {
    world.goods().find(|good| good.token == token).map_or(Expected::Refused, |good| good.judge(now))
}
