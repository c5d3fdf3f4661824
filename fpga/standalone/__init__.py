"""A board that tells stories by itself: power on, and text comes out of its serial port."""
