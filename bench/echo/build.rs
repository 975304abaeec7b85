//! The gRPC service, described here so that no `protoc` is needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("crate::peers::grpc::Message")
        .output_type("crate::peers::grpc::Message")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    Builder::new().compile(&[Service::builder().name("Echo").package("bench").method(echo).build()]);
}
