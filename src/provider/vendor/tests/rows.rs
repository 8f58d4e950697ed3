//! Vendors of the world, a recipe for each, as far as the language goes: what the vendor is sent, and what is made of its answer. The shapes are those
//! of the vendors' public documents; where a preset has one, the preset is the recipe (docs/recipes.md has the table).

use serde_json::{Value as Json, json};

use super::script::{Reply, START, Seen, Stage, person};
use super::*;

/// Whether this is expected, and in which part of a call.
enum Part {
    /// Of the head, such as a header field.
    Head(&'static str),
    /// The body, as a whole.
    Body(&'static str),
    /// The body as JSON.
    Json(Json),
}

use Part::{Body, Head, Json as AsJson};

/// A vendor.
struct Row {
    name: &'static str,
    /// `BASE` in it is the vendor's address.
    recipe: &'static str,
    /// The calls in order: method and target, what it has, and the JSON that it is answered.
    calls: Vec<(&'static str, Vec<Part>, Json)>,
    /// What the browser or script gets.
    minted: &'static str,
    /// Seconds of life from the mint's start; `None`: `max_age` counts.
    life: Option<i64>,
}

const BEARER: &str = "\r\nauthorization: Bearer canary-key-one\r\n";
const WITH_TOKEN: &str = "\r\nauthorization: Bearer at\r\n";

fn granted() -> Json {
    json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 3600 })
}

/// `exp` of a token of the vendor's own.
fn token(exp: i64) -> String {
    format!("h.{}.s", URL_SAFE_NO_PAD.encode(json!({ "exp": exp }).to_string()))
}

fn identity() -> Vec<Row> {
    vec![
        Row {
            name: "Veriff",
            recipe: "auth = { header = 'x-auth-client' }\n[mint.embed]\nmethod = 'POST'\npath = '/v1/sessions'\n\
                     json = { verification = { vendorData = '{subject}' } }\nurl = 'json:/verification/url'\nexpires = 'fixed'",
            calls: vec![(
                "POST /v1/sessions",
                vec![
                    Head("\r\nx-auth-client: canary-key-one\r\n"),
                    AsJson(json!({ "verification": { "vendorData": "ada" } })),
                ],
                json!({ "verification": { "url": "https://v.acme.example/v/1" } }),
            )],
            minted: "https://v.acme.example/v/1",
            life: None,
        },
        Row {
            name: "Onfido Studio",
            recipe: "auth = { header = 'authorization', prefix = 'Token token=' }\n[register]\npath = '/v3.6/applicants'\n\
                     json = { first_name = 'Ada', last_name = '{subject}' }\naccept = [201]\n[mint.embed]\nmethod = 'POST'\n\
                     path = '/v3.6/workflow_runs'\njson = { applicant_id = '{register:/id}', workflow_id = 'w' }\n\
                     url = 'json:/link/url'\nexpires = 'json:/link/expires_at'",
            calls: vec![
                (
                    "POST /v3.6/applicants",
                    vec![Head("\r\nauthorization: Token token=canary-key-one\r\n")],
                    json!({ "id": "a/1" }),
                ),
                (
                    "POST /v3.6/workflow_runs",
                    vec![AsJson(json!({ "applicant_id": "a/1", "workflow_id": "w" }))],
                    json!({ "link": { "url": "https://o.acme.example/l", "expires_at": "2025-12-29T10:50:00Z" } }),
                ),
            ],
            minted: "https://o.acme.example/l",
            life: Some(5400),
        },
        Row {
            name: "Persona",
            recipe: "auth = { bearer = true }\n[register]\npath = '/api/v1/inquiries'\n\
                     json = { data = { attributes = { reference-id = '{subject}', inquiry-template-id = 'itmpl_1' } } }\naccept = [201]\n\
                     [mint.embed]\nmethod = 'POST'\npath = '/api/v1/inquiries/{register:/data/id}/generate-one-time-link'\n\
                     url = 'json:/meta/one-time-link'\nexpires = 'fixed'",
            calls: vec![
                ("POST /api/v1/inquiries", vec![Head(BEARER)], json!({ "data": { "id": "inq_1" } })),
                (
                    "POST /api/v1/inquiries/inq_1/generate-one-time-link",
                    vec![Head(BEARER)],
                    json!({ "meta": { "one-time-link": "https://p.acme.example/v?c=1" } }),
                ),
            ],
            minted: "https://p.acme.example/v?c=1",
            life: None,
        },
        Row {
            name: "Jumio",
            recipe: "auth = { oauth2 = { token_url = 'BASE/oauth2/token', client_id = 'c' } }\n[mint.embed]\nmethod = 'POST'\n\
                     path = '/api/v1/accounts'\njson = { customerInternalReference = '{subject}', workflowDefinition = { key = 10011 }, tokenLifetime = '{seconds:6h}s' }\n\
                     url = 'json:/web/href'\nexpires = 'fixed'",
            calls: vec![
                (
                    "POST /oauth2/token",
                    vec![Head("\r\nauthorization: Basic Yzpj"), Body("grant_type=client_credentials")],
                    granted(),
                ),
                (
                    "POST /api/v1/accounts",
                    vec![
                        Head(WITH_TOKEN),
                        Head("\r\nuser-agent: valet/"),
                        AsJson(
                            json!({ "customerInternalReference": "ada", "workflowDefinition": { "key": 10011 }, "tokenLifetime": "21600s" }),
                        ),
                    ],
                    json!({ "web": { "href": "https://j.acme.example/web/v4/app?authorizationToken=t" } }),
                ),
            ],
            minted: "https://j.acme.example/web/v4/app?authorizationToken=t",
            life: None,
        },
        Row {
            name: "Sumsub",
            recipe: "auth = { hmac = { algorithm = 'sha256', text = '{timestamp}{method}{path_and_query}{body}', header = 'x-app-access-sig', encoding = 'hex', timestamp_header = 'x-app-access-ts' } }\n\
                     secret_headers = { x-app-token = { file = '1' } }\n[mint.embed]\nmethod = 'POST'\npath = '/resources/sdkIntegrations/levels/-/websdkLink'\n\
                     json = { levelName = 'basic', userId = '{subject}', ttlInSecs = '{seconds:6h#}' }\nurl = 'json:/url'\nexpires = 'fixed'",
            calls: vec![(
                "POST /resources/sdkIntegrations/levels/-/websdkLink",
                vec![
                    Head("\r\nx-app-token: canary-key-two\r\n"),
                    Head("\r\nx-app-access-ts: 1767000000\r\n"),
                    Head("\r\nx-app-access-sig: "),
                    AsJson(json!({ "levelName": "basic", "userId": "ada", "ttlInSecs": 21600 })),
                ],
                json!({ "url": "https://s.acme.example/websdk/p/1" }),
            )],
            minted: "https://s.acme.example/websdk/p/1",
            life: None,
        },
    ]
}

fn health_and_money() -> Vec<Row> {
    vec![
        Row {
            name: "Plaid Hosted Link",
            recipe: "auth = { header = 'plaid-secret' }\nheaders = { plaid-client-id = 'c' }\n[mint.embed]\nmethod = 'POST'\npath = '/link/token/create'\n\
                     json = { client_name = 'V', language = 'en', country_codes = ['US'], products = ['auth'], user = { client_user_id = '{subject}' }, hosted_link = {} }\n\
                     url = 'json:/hosted_link_url'\nexpires = 'json:/expiration'",
            calls: vec![(
                "POST /link/token/create",
                vec![Head("\r\nplaid-secret: canary-key-one\r\n"), Head("\r\nplaid-client-id: c\r\n")],
                json!({ "hosted_link_url": "https://h.acme.example/hl/1", "expiration": "2025-12-29T13:20:00Z" }),
            )],
            minted: "https://h.acme.example/hl/1",
            life: Some(4 * 3600),
        },
        Row {
            name: "Terra",
            recipe: "auth = { header = 'x-api-key' }\nheaders = { dev-id = 'd' }\n[mint.embed]\nmethod = 'POST'\npath = '/api/widget/session'\n\
                     json = { reference_id = '{subject}', language = 'en' }\nurl = 'json:/url'\nexpires = 'json:/expires_in'",
            calls: vec![(
                "POST /api/widget/session",
                vec![Head("\r\ndev-id: d\r\n"), AsJson(json!({ "reference_id": "ada", "language": "en" }))],
                json!({ "url": "https://t.acme.example/session/1", "expires_in": 900 }),
            )],
            minted: "https://t.acme.example/session/1",
            life: Some(900),
        },
        Row {
            name: "Junction (Vital)",
            recipe: "auth = { header = 'x-vital-api-key' }\n[register]\npath = '/v2/user'\njson = { client_user_id = '{subject}' }\naccept = [200, 201]\n\
                     [mint.embed]\nmethod = 'POST'\npath = '/v2/link/token'\njson = { user_id = '{register:/user_id}' }\nurl = 'json:/link_web_url'\nexpires = 'json:/expires_at'",
            calls: vec![
                ("POST /v2/user", vec![AsJson(json!({ "client_user_id": "ada" }))], json!({ "user_id": "u-1" })),
                (
                    "POST /v2/link/token",
                    vec![AsJson(json!({ "user_id": "u-1" }))],
                    json!({ "link_web_url": "https://j.acme.example/?token=t", "expires_at": START + 3600 }),
                ),
            ],
            minted: "https://j.acme.example/?token=t",
            life: Some(3600),
        },
        Row {
            name: "Stripe portal",
            recipe: "auth = { bearer = true }\n[mint.embed]\nmethod = 'POST'\npath = '/v1/billing_portal/sessions'\nform = { customer = '{subject}' }\nurl = 'json:/url'\nexpires = 'fixed'",
            calls: vec![(
                "POST /v1/billing_portal/sessions",
                vec![
                    Head(BEARER),
                    Head("\r\ncontent-type: application/x-www-form-urlencoded\r\n"),
                    Body("customer=ada"),
                ],
                json!({ "url": "https://b.acme.example/p/session/1" }),
            )],
            minted: "https://b.acme.example/p/session/1",
            life: None,
        },
        Row {
            name: "IntelliProve v1",
            recipe: "preset = 'intelliprove-v1'\n[mint.embed]\npath = '/v1/plugin/make'\nquery = { patient-ref = '{subject}' }\nurl = 'json:/url'\nexpires = 'fixed'",
            calls: vec![(
                "GET /v1/plugin/make?patient-ref=ada",
                vec![Head("\r\nx-api-key: canary-key-one\r\n")],
                json!({ "url": "https://i.acme.example/?action_token=t" }),
            )],
            minted: "https://i.acme.example/?action_token=t",
            life: None,
        },
        Row {
            name: "IntelliWidgets",
            recipe: "auth = { header = 'x-api-key' }\n[mint.embed]\nmethod = 'POST'\npath = '/v1/auth/action-token'\nform = { expire_in = '{seconds:6h}' }\ntoken = 'json:/token'\nexpires = 'jwt'",
            calls: vec![(
                "POST /v1/auth/action-token",
                vec![Body("expire_in=21600")],
                json!({ "token": token(START + 21600) }),
            )],
            minted: "h.eyJleHAiOjE3NjcwMjE2MDB9.s",
            life: Some(21600),
        },
    ]
}

fn reports() -> Vec<Row> {
    vec![
        Row {
            name: "Looker",
            recipe: "auth = { login = { path = '/api/4.0/login', form = { client_id = 'c', client_secret = '{api_key}' }, token = 'json:/access_token', expires = 'json:/expires_in' } }\n\
                     [mint.embed]\nmethod = 'POST'\npath = '/api/4.0/embed/sso_url'\n\
                     json = { target_url = 'https://l.acme.example/embed/dashboards/1', session_length = '{seconds:5m#}', external_user_id = '{subject}', permissions = ['access_data'], models = ['m'] }\n\
                     url = 'json:/url'\nexpires = 'fixed'",
            calls: vec![
                ("POST /api/4.0/login", vec![Body("client_id=c&client_secret=canary-key-one")], granted()),
                (
                    "POST /api/4.0/embed/sso_url",
                    vec![Head(WITH_TOKEN)],
                    json!({ "url": "https://l.acme.example/login/embed/1?signature=s" }),
                ),
            ],
            minted: "https://l.acme.example/login/embed/1?signature=s",
            life: None,
        },
        Row {
            name: "Power BI",
            recipe: "auth = { oauth2 = { token_url = 'BASE/t/oauth2/v2.0/token', client_id = 'c', client_auth = 'post', scope = 'https://analysis.windows.net/powerbi/api/.default' } }\n\
                     [mint.embed]\nmethod = 'POST'\npath = '/v1.0/myorg/GenerateToken'\njson = { reports = [{ id = 'r' }], datasets = [{ id = 'd' }] }\ntoken = 'json:/token'\nexpires = 'json:/expiration'",
            calls: vec![
                ("POST /t/oauth2/v2.0/token", vec![], granted()),
                (
                    "POST /v1.0/myorg/GenerateToken",
                    vec![Head(WITH_TOKEN)],
                    json!({ "token": "H4sI", "expiration": "2025-12-29T10:20:00Z" }),
                ),
            ],
            minted: "H4sI",
            life: Some(3600),
        },
        Row {
            name: "Superset",
            recipe: "auth = { login = { path = '/api/v1/security/login', json = { username = 'valet', password = '{api_key}', provider = 'db', refresh = false }, token = 'json:/access_token' } }\n\
                     [mint.embed]\nmethod = 'POST'\npath = '/api/v1/security/guest_token/'\n\
                     json = { user = { username = '{subject}' }, resources = [{ type = 'dashboard', id = 'd' }], rls = [] }\ntoken = 'json:/token'\nexpires = 'jwt'",
            calls: vec![
                ("POST /api/v1/security/login", vec![], granted()),
                ("POST /api/v1/security/guest_token/", vec![Head(WITH_TOKEN)], json!({ "token": token(START + 300) })),
            ],
            minted: "h.eyJleHAiOjE3NjcwMDAzMDB9.s",
            life: Some(300),
        },
        Row {
            name: "QuickSight",
            recipe: "auth = { sigv4 = { region = 'eu-west-1', service = 'quicksight', access_key_id = 'AKID' } }\n[mint.embed]\nmethod = 'POST'\n\
                     path = '/accounts/1/embed-url/registered-user'\njson = { UserArn = 'arn:{subject}', SessionLifetimeInMinutes = 600, ExperienceConfiguration = { Dashboard = { InitialDashboardId = 'd' } } }\n\
                     url = 'json:/EmbedUrl'\nexpires = 'fixed'",
            calls: vec![(
                "POST /accounts/1/embed-url/registered-user",
                vec![Head(
                    "\r\nauthorization: AWS4-HMAC-SHA256 Credential=AKID/20251229/eu-west-1/quicksight/aws4_request",
                )],
                json!({ "EmbedUrl": "https://q.acme.example/embed/1?code=c" }),
            )],
            minted: "https://q.acme.example/embed/1?code=c",
            life: None,
        },
        Row {
            name: "Metabase",
            recipe: "[mint.embed]\njwt = { algorithm = 'HS256', claims = { resource = { dashboard = 1 }, params = {}, exp = '{now+10m:epoch#}' } }\n\
                     url = 'https://m.acme.example/embed/dashboard/{jwt}#bordered=false'",
            calls: vec![],
            minted: "https://m.acme.example/embed/dashboard/",
            life: Some(600),
        },
    ]
}

fn rooms() -> Vec<Row> {
    vec![
        Row {
            name: "Calendly",
            recipe: "auth = { bearer = true }\n[mint.embed]\nmethod = 'POST'\npath = '/scheduling_links'\n\
                     json = { max_event_count = 1, owner = 'https://api.acme.example/event_types/1', owner_type = 'EventType' }\nurl = 'json:/resource/booking_url'\nexpires = 'fixed'",
            calls: vec![(
                "POST /scheduling_links",
                vec![Head(BEARER)],
                json!({ "resource": { "booking_url": "https://c.acme.example/d/1" } }),
            )],
            minted: "https://c.acme.example/d/1",
            life: None,
        },
        Row {
            name: "Daily",
            recipe: "auth = { bearer = true }\n[mint.embed]\nmethod = 'POST'\npath = '/v1/meeting-tokens'\n\
                     json = { properties = { room_name = 'visit', user_id = '{subject}', exp = '{now+1h:epoch#}' } }\n\
                     url = 'https://d.acme.example/visit?t={answer:/token}'\nexpires = 'jwt:t'",
            calls: vec![(
                "POST /v1/meeting-tokens",
                vec![AsJson(json!({ "properties": { "room_name": "visit", "user_id": "ada", "exp": START + 3600 } }))],
                json!({ "token": token(START + 3600) }),
            )],
            minted: "https://d.acme.example/visit?t=h.eyJleHAiOjE3NjcwMDM2MDB9.s",
            life: Some(3600),
        },
        Row {
            name: "Whereby",
            recipe: "auth = { bearer = true }\n[mint.embed]\nmethod = 'POST'\npath = '/v1/meetings'\njson = { endDate = '{now+2h}', isLocked = true }\nurl = 'json:/roomUrl'\nexpires = 'json:/endDate'",
            calls: vec![(
                "POST /v1/meetings",
                vec![Head(BEARER)],
                json!({ "roomUrl": "https://w.acme.example/room", "endDate": "2025-12-29T11:20:00.000Z" }),
            )],
            minted: "https://w.acme.example/room",
            life: Some(7200),
        },
        Row {
            name: "LiveKit",
            recipe: "[mint.embed]\njwt = { algorithm = 'HS256', claims = { iss = 'key', sub = '{subject}', video = { room = 'r', roomJoin = true }, exp = '{now+1h:epoch#}' } }\ntoken = 'jwt'",
            calls: vec![],
            minted: "ey",
            life: Some(3600),
        },
        Row {
            name: "Twilio",
            recipe: "[mint.embed]\njwt = { algorithm = 'HS256', header = { cty = 'twilio-fpa;v=1' }, claims = { iss = 'SK1', sub = 'AC1', grants = { identity = '{subject}', video = { room = 'r' } }, exp = '{now+1h:epoch#}' } }\ntoken = 'jwt'",
            calls: vec![],
            minted: "ey",
            life: Some(3600),
        },
    ]
}

async fn prove(row: Row) {
    let Row { name, recipe, calls, minted, life } = row;
    let expected: Vec<_> = calls.iter().map(|(line, _, _)| *line).collect();
    let answers: Vec<(&str, Json)> = calls.iter().map(|(line, _, answer)| (*line, answer.clone())).collect();
    let secrets = ["canary-key-one", "canary-key-two"];
    let stage = Stage::with_recipe(recipe, secrets, move |call: &Seen| {
        let answer = answers.iter().find(|(line, _)| *line == call.line());
        answer.map_or_else(
            || Reply::Is(404, "", String::new()),
            |(line, answer)| {
                // As vendors answer what they make.
                let made = line.contains("/applicants") || line.contains("/inquiries") && !line.contains("link");
                Reply::Is(if made { 201 } else { 200 }, "", answer.to_string())
            },
        )
    })
    .await;
    let got = stage.mint_for(&person("https://idp.example", "ada")).await;
    let seen: Vec<Seen> = stage.calls();
    let lines: Vec<&str> = seen.iter().map(Seen::line).collect();
    assert_eq!(lines, expected, "{name}");
    for (call, (_, parts, _)) in seen.iter().zip(&calls) {
        for part in parts {
            match part {
                Head(text) => assert!(call.head.contains(text), "{name}: {text:?} in {}", call.head),
                Body(text) => assert_eq!(call.body, *text, "{name}"),
                AsJson(json) => assert_eq!(serde_json::from_str::<Json>(&call.body).unwrap(), *json, "{name}"),
            }
        }
    }
    let got =
        got.unwrap_or_else(|failure| panic!("{name}: {failure:?}, {:?}", stage.vendor.minter("embed").unwrap().why()));
    let text = got.url.expose();
    if calls.is_empty() {
        assert!(text.starts_with(minted), "{name}: {text}");
    } else {
        assert_eq!(text, minted, "{name}");
    }
    assert_eq!(got.ends.map(|ends| ends.as_secs() - START), life, "{name}");
}

#[tokio::test]
async fn vendors_of_many_kinds_are_expressible_and_get_what_they_ask_for() {
    let rows: Vec<Row> = [identity(), health_and_money(), reports(), rooms()].into_iter().flatten().collect();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        prove(row).await;
    }
}
