"""Where photos come from: folders, the photos embedded in scikit-image, public sets."""
