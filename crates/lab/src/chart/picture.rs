//! Charts as PNG, for places that take no SVG.

use std::fmt;
use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use super::{Chart, Setting};

/// Makes pictures of charts, with the fonts this machine has.
#[derive(Debug)]
pub struct Pictures {
    options: Options<'static>,
}

/// Why there is no picture.
#[derive(Debug)]
#[non_exhaustive]
pub enum PictureError {
    /// The chart is no SVG that can be drawn.
    Svg(resvg::usvg::Error),
    /// It has no size, or one that memory does not hold.
    Size,
    /// The pixels could not be written as PNG.
    Png(String),
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svg(error) => write!(f, "the chart cannot be drawn: {error}"),
            Self::Size => f.write_str("the chart has no size that can be drawn"),
            Self::Png(error) => write!(f, "the picture cannot be written: {error}"),
        }
    }
}

impl std::error::Error for PictureError {}

impl Pictures {
    /// Looks for fonts, which takes a moment.
    ///
    /// A sans serif is used where there is one, else any font. Without fonts pictures have lines and no letters, which
    /// [`has_letters`](Self::has_letters) tells.
    #[must_use]
    pub fn new() -> Self {
        let mut fonts = Database::new();
        fonts.load_system_fonts();
        let families: Vec<String> = fonts
            .faces()
            .filter(|face| !face.monospaced)
            .filter_map(|face| face.families.first().map(|(name, _)| name.clone()))
            .collect();
        let known = PREFERRED.iter().find(|name| families.iter().any(|family| family == *name));
        let chosen = known.map(|name| (*name).to_owned()).or_else(|| families.first().cloned());
        if let Some(family) = chosen {
            fonts.set_sans_serif_family(family);
        }
        Self { options: Options { fontdb: Arc::new(fonts), ..Options::default() } }
    }

    /// Whether there is a font.
    #[must_use]
    pub fn has_letters(&self) -> bool {
        !self.options.fontdb.is_empty()
    }

    /// The chart as PNG, twice as large as its SVG, light on whatever theme.
    ///
    /// # Errors
    /// [`PictureError`], which a chart of this module does not give unless memory is short.
    pub fn png(&self, chart: &Chart) -> Result<Vec<u8>, PictureError> {
        let tree = Tree::from_str(&chart.svg(Setting::Picture), &self.options).map_err(PictureError::Svg)?;
        let size = tree.size().to_int_size().scale_by(ZOOM).ok_or(PictureError::Size)?;
        let mut pixels = Pixmap::new(size.width(), size.height()).ok_or(PictureError::Size)?;
        resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| PictureError::Png(error.to_string()))
    }
}

impl Default for Pictures {
    fn default() -> Self {
        Self::new()
    }
}

const ZOOM: f32 = 2.0;
/// Families without serifs that systems bring, the nicer first.
const PREFERRED: [&str; 8] =
    ["Inter", "Noto Sans", "Roboto", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"];
