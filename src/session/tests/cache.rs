use jsonwebtoken::Algorithm;
use serde_json::json;

use super::kit::{HMAC_SECRET, Signer, World, issuer, try_world, with};

const CAPACITY: usize = 1000;

/// Verified tokens are cheap here: by a shared secret.
fn world() -> (Signer, World) {
    let toml = format!("cache = {CAPACITY}\nmax_token_bytes = 65536\n")
        + &issuer("\"HS256\"", "{ secret = { file = \"key\" } }");
    (Signer::new(Algorithm::HS256), try_world(&toml, &[("key", HMAC_SECRET)], &[]).ok().unwrap())
}

fn token(signer: &Signer, name: &str, padding: usize) -> String {
    let mut claims = with("sid", Some(json!(name)));
    claims["padding"] = json!("x".repeat(padding));
    signer.token("k", &claims)
}

/// Uses each token as requests do: from the cache, or by verification.
async fn use_each(world: &World, tokens: &[String]) {
    for token in tokens {
        if !world.is_cached(token) {
            world.verify(token).await.ok().unwrap();
        }
    }
}

fn entries(world: &World) -> usize {
    usize::try_from(world.metrics.session_cache_entries.get()).unwrap()
}

#[tokio::test]
async fn tokens_that_are_seen_once_do_not_push_out_those_in_use() {
    let (signer, world) = world();
    let in_use: Vec<String> = (0..CAPACITY / 4).map(|n| token(&signer, &format!("in-use-{n}"), 0)).collect();
    for _ in 0..3 {
        use_each(&world, &in_use).await;
    }
    for n in 0..20 * CAPACITY {
        world.verify(&token(&signer, &format!("once-{n}"), 0)).await.ok().unwrap();
    }
    let kept = in_use.iter().filter(|token| world.is_cached(token)).count();
    assert!(kept * 10 >= in_use.len() * 9, "{kept} of {} are left", in_use.len());
    assert!(entries(&world) <= CAPACITY, "{} entries", entries(&world));
}

#[tokio::test]
async fn no_number_of_bad_tokens_changes_what_is_kept() {
    let (signer, world) = world();
    let in_use: Vec<String> = (0..CAPACITY / 2).map(|n| token(&signer, &format!("in-use-{n}"), 0)).collect();
    use_each(&world, &in_use).await;
    let before = entries(&world);
    for n in 0..10 * CAPACITY {
        let good = token(&signer, &format!("bad-{n}"), 0);
        let (signed, _) = good.rsplit_once('.').unwrap();
        world.verify(&format!("{signed}.AAAA")).await.err().unwrap();
    }
    assert_eq!(entries(&world), before);
    assert!(in_use.iter().all(|token| world.is_cached(token)));
}

#[tokio::test]
async fn long_tokens_take_the_place_of_several() {
    let (signer, world) = world();
    let long: Vec<String> = (0..CAPACITY).map(|n| token(&signer, &format!("long-{n}"), 6000)).collect();
    use_each(&world, &long).await;
    let bytes: usize = long.iter().filter(|token| world.is_cached(token)).map(String::len).sum();
    // 2 KiB for each that `session.cache` allows.
    assert!(bytes <= CAPACITY * 2048, "{bytes} bytes of tokens are kept");
    assert!(bytes > 0);
}
