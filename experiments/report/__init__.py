"""`slosim report`: a comparison as one HTML file that stands alone, to be mailed and opened anywhere."""
