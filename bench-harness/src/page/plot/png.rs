//! Plots as pixels, with the one font that comes with this program.

use std::sync::Arc;

use anyhow::Context;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

/// See the licence beside it.
const FONT: &[u8] = include_bytes!("../../../fonts/DejaVuSans-Latin.ttf");

/// Pixels of the picture for one of the plot, so that it is sharp on any screen.
const SCALE: f32 = 2.0;

/// The plot as a PNG file, in the colours of a light page.
pub(crate) fn encode(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    let options = Options {
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).context("a plot is no SVG")?;
    let size = tree.size().to_int_size();
    let size = size.scale_by(SCALE).context("a plot has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("a plot has no pixels")?;
    let transform = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels.encode_png().context("a plot cannot be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plot::{INK, draw, text_left};

    #[test]
    fn text_becomes_ink_without_a_font_of_the_system() {
        let blank = draw((120, 40), |_| Ok(())).expect("a plot");
        let written = draw((120, 40), |area| {
            area.draw_text("GFLOP/s 0.5", &text_left(14.0, &INK), (5, 20))
        })
        .expect("a plot");
        let dark = |svg: &str| {
            let png = encode(svg).expect("a picture");
            let pixels = Pixmap::decode_png(&png).expect("the same picture");
            assert_eq!((pixels.width(), pixels.height()), (240, 80));
            let is_dark = |pixel: &&resvg::tiny_skia::PremultipliedColorU8| pixel.red() < 100;
            pixels.pixels().iter().filter(is_dark).count()
        };
        assert_eq!(dark(&blank), 0);
        // Eleven characters of some 14 x 8 pixels, twice as large, a fifth of it ink.
        assert!(dark(&written) > 500, "{}", dark(&written));
    }
}
