//! What a connection costs while nothing happens.

use hikyaku_mux::Connection;

#[test]
fn an_idle_connection_is_about_a_kilobyte() {
    let size = size_of::<Connection>();
    assert!(size <= 1024, "{size} bytes");
}
