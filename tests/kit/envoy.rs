//! Envoy's side of `envoy.service.auth.v3.Authorization/Check`, by hand: protobuf, the five bytes before a message, HTTP/2.

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;

use super::in_time;

/// One call.
pub struct Check<'a> {
    pub method: &'a str,
    pub host: &'a str,
    pub target: &'a str,
    pub fields: &'a [(&'a str, String)],
    /// The address of the client that Envoy sees.
    pub source: Option<&'a str>,
    /// The fields one by one, and not in a map.
    pub raw: bool,
}

/// What is answered.
#[derive(Debug, Default)]
pub struct Checked {
    pub grpc_status: Option<String>,
    /// 200: it may pass.
    pub status: u64,
    pub set: Vec<(String, String)>,
    pub removed: Vec<String>,
    pub body: String,
}

impl Checked {
    /// The only field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.set.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = all.next();
        assert_eq!(all.next(), None, "{name} twice in {self:?}");
        first
    }
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// A field of bytes: a text, or a message.
fn field(tag: usize, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [&varint(tag << 3 | 2)[..], &varint(value.len()), value].concat()
}

impl Check<'_> {
    pub fn message(&self) -> Vec<u8> {
        let entry = |(name, value): &(&str, String)| [field(1, name.to_ascii_lowercase()), field(2, value)].concat();
        let mut http = [field(2, self.method), field(4, self.target), field(5, self.host)].concat();
        if self.raw {
            http.extend(field(13, self.fields.iter().flat_map(|one| field(1, entry(one))).collect::<Vec<u8>>()));
        } else {
            // As Envoy joins them.
            let mut joined: Vec<(&str, String)> = Vec::new();
            for (name, value) in self.fields {
                match joined.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                    Some((_, before)) => *before += &format!(",{value}"),
                    None => joined.push((name, value.clone())),
                }
            }
            http.extend(joined.iter().flat_map(|one| field(3, entry(one))));
        }
        let source = self.source.map(|ip| field(1, field(1, field(1, field(2, ip))))).unwrap_or_default();
        field(1, [source, field(4, field(2, http))].concat())
    }

    pub async fn send(&self, address: &str) -> Checked {
        call(address, "/envoy.service.auth.v3.Authorization/Check", &self.message()).await
    }
}

/// A unary call on a connection of its own.
pub async fn call(address: &str, path: &str, message: &[u8]) -> Checked {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (client, connection) = in_time("HTTP/2", h2::client::handshake(stream)).await.expect("HTTP/2");
    let task = tokio::spawn(connection);
    let checked = call_on(client, address, path, message).await;
    task.abort();
    checked
}

/// The same on a connection that stands.
pub async fn call_on(client: SendRequest<Bytes>, address: &str, path: &str, message: &[u8]) -> Checked {
    in_time("a check", async {
        let mut client = client.ready().await.expect("a stream");
        let request = http::Request::post(format!("http://{address}{path}")).header("content-type", "application/grpc");
        let (answer, mut body) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
        let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat();
        body.send_data(Bytes::from(framed), true).expect("sent");
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        let mut out = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.expect("a piece");
            out.extend_from_slice(&piece);
            let _ = body.flow_control().release_capacity(piece.len());
        }
        let trailers = body.trailers().await.expect("trailers").unwrap_or_default();
        let status = trailers.get("grpc-status").or(head.headers.get("grpc-status"));
        let mut checked = out.get(5..).map(read).unwrap_or_default();
        checked.grpc_status = status.and_then(|status| status.to_str().ok()).map(str::to_owned);
        checked
    })
    .await
}

/// The fields of a message: number, number of a varint, bytes.
fn parts(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let number = |rest: &mut &[u8]| {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, after) = rest.split_first().expect("a varint");
            *rest = after;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    };
    let mut all = Vec::new();
    while !message.is_empty() {
        let key = number(&mut message);
        let value = number(&mut message);
        if key & 7 == 0 {
            all.push((key >> 3, value, &message[..0]));
        } else {
            let (bytes, rest) = message.split_at(value as usize);
            all.push((key >> 3, 0, bytes));
            message = rest;
        }
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn read(message: &[u8]) -> Checked {
    let mut checked = Checked::default();
    for (tag, _, part) in parts(message) {
        if tag == 3 {
            checked.status = 200;
        }
        for (inner, _, value) in if tag == 1 { Vec::new() } else { parts(part) } {
            match (tag, inner) {
                (2, 1) => checked.status = parts(value)[0].1,
                (2 | 3, 2) => {
                    let header = parts(value).into_iter().find(|(tag, ..)| *tag == 1).expect("a header").2;
                    let of = |tag| {
                        parts(header)
                            .into_iter()
                            .find(|(known, ..)| *known == tag)
                            .map_or(String::new(), |one| text(one.2))
                    };
                    checked.set.push((of(1), of(2)));
                }
                (2, 3) => checked.body = text(value),
                (3, 5) => checked.removed.push(text(value)),
                other => panic!("an unknown field {other:?}"),
            }
        }
    }
    checked
}
