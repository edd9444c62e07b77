package drawing

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// What is drawn is one XML document, whatever its texts are.
func TestDrawing(t *testing.T) {
	d := New(100, 50)
	d.Box(Box{1, 2, 3, 4, "#ff0000", `a<b & "c"`})
	d.Box(Box{W: 1, H: 1, Fill: `"/><script>`})
	d.Text(Text{X: 5, Y: 6, Text: "</text>", Bold: true, Anchor: "end", Fill: "#555555"})
	d.Line([2]int{0, 1}, [2]int{2, 3}, "#cccccc")
	b := string(d.Bytes())
	names := map[string]int{}
	for x := xml.NewDecoder(strings.NewReader(b)); ; {
		tok, err := x.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if e, ok := tok.(xml.StartElement); ok {
			names[e.Name.Local]++
		}
	}
	if names["svg"] != 1 || names["rect"] != 3 || names["title"] != 1 || names["text"] != 1 || names["line"] != 1 || len(names) != 5 {
		t.Errorf("%v in %s", names, b)
	}
}
