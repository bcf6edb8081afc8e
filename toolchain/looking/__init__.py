"""Looking into a restoration: pictures, reports and the page."""
