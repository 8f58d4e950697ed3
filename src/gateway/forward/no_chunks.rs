//! A client of HTTP/1.0 knows no chunks (RFC 9112, section 7.1): the end of its connection is that of its answer, also where Pingora's proxy has an
//! answer of HTTP/2 without a length, to which it adds chunks behind all our filters but this one.

use std::any::Any;

use async_trait::async_trait;
use http::{Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};

/// Makes one for each request.
pub(super) struct NoChunks;

/// Of one request.
struct Filter {
    /// Its client speaks HTTP/1.0.
    old: bool,
}

impl HttpModuleBuilder for NoChunks {
    fn init(&self) -> Module {
        Box::new(Filter { old: false })
    }
}

#[async_trait]
impl HttpModule for Filter {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> pingora::Result<()> {
        self.old = request.version == Version::HTTP_10;
        Ok(())
    }

    async fn response_header_filter(&mut self, response: &mut ResponseHeader, _: bool) -> pingora::Result<()> {
        if self.old {
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
