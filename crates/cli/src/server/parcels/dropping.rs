//! Who may put files into the server's own directory, replace what is there, and learn what is in it.

use hikyaku::Failure;
use hikyaku_accounts::Grant;
use hikyaku_wire::files::{Overwrite, PutOptions};

use super::Context;

/// An error that says what to ask an owner for, unless the user may do this there.
pub(super) async fn may_drop(context: &Context, options: PutOptions) -> Result<(), Failure> {
    context.must_now(Grant::Drop).await?;
    let replaces = matches!(options.overwrite, Some(Overwrite::Newer | Overwrite::Always));
    // An answer about roots says what is in a file.
    //= S5.68
    if replaces || options.checksum == Some(true) {
        let may = context.must_now(Grant::Replace).await;
        may.map_err(|failure| if replaces { failure } else { not_compared(failure) })?;
    }
    Ok(())
}

/// Why files are not compared with what is there.
fn not_compared(failure: Failure) -> Failure {
    let message =
        format!("only who may replace files is told whether they have some content: {}", failure.message);
    Failure { message, ..failure }
}
