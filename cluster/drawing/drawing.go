// Package drawing writes the few shapes of which the project's charts consist as
// SVG (W3C, Scalable Vector Graphics 1.1): rectangles, lines and text, in user
// units, on a white page. All text is escaped; what is drawn later lies above.
package drawing

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// Drawing is a page that is drawn on. Make one with [New].
type Drawing struct{ b bytes.Buffer }

// New returns an empty page.
func New(width, height int) *Drawing {
	d := &Drawing{}
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	d.b.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	return d
}

// Box is a filled rectangle, with what is shown of it when it is pointed at.
type Box struct {
	X, Y, W, H  int
	Fill, Title string
}

// Box draws one.
func (d *Drawing) Box(b Box) {
	fmt.Fprintf(&d.b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s">`, b.X, b.Y, b.W, b.H, escape(b.Fill))
	if b.Title != "" {
		fmt.Fprintf(&d.b, `<title>%s</title>`, escape(b.Title))
	}
	d.b.WriteString("</rect>\n")
}

// Text is one line. An empty Fill is black, an empty Anchor "start" (SVG 1.1,
// section 10.9.1).
type Text struct {
	X, Y         int
	Text         string
	Fill, Anchor string
	Bold         bool
}

// Text writes one.
func (d *Drawing) Text(t Text) {
	fmt.Fprintf(&d.b, `<text x="%d" y="%d"`, t.X, t.Y)
	if t.Bold {
		d.b.WriteString(` font-weight="bold"`)
	}
	if t.Anchor != "" {
		fmt.Fprintf(&d.b, ` text-anchor="%s"`, escape(t.Anchor))
	}
	if t.Fill != "" {
		fmt.Fprintf(&d.b, ` fill="%s"`, escape(t.Fill))
	}
	fmt.Fprintf(&d.b, ">%s</text>\n", escape(t.Text))
}

// Line draws a thin line between two points.
func (d *Drawing) Line(from, to [2]int, colour string) {
	fmt.Fprintf(&d.b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s"/>`+"\n", from[0], from[1], to[0], to[1], escape(colour))
}

// Bytes returns the page as a file. Nothing is drawn after that.
func (d *Drawing) Bytes() []byte {
	d.b.WriteString("</svg>\n")
	return d.b.Bytes()
}

func escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}
