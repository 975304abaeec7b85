//! Text of a peer: which of its characters nobody should hand to a terminal.

/// Characters that change what a terminal does or in which order a reader sees things: controls, bidirectional
/// overrides and isolates, zero-width and tag characters, line and paragraph separators.
pub fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
