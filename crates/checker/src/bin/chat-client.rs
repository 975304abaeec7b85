//! The client of a run of the checker; see `hikyaku_checker::client`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let options = std::env::args().nth(1).unwrap_or_default();
    let options = match serde_json::from_str(&options) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("chat-client: its argument is not what it should be: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("chat-client: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(hikyaku_checker::client::run(options));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("chat-client: {sentence}");
            ExitCode::FAILURE
        }
    }
}
