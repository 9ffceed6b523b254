"""Pure parts of common: values in, values out."""
