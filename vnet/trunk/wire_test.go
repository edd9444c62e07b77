package trunk

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"ore/vnet/ethernet"
	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

func TestRecords(t *testing.T) {
	for _, want := range []record{
		{kind: recordProbe, number: 7, time: -1}, {kind: recordEcho, number: 1 << 31, time: 1 << 62, size: 65507},
		{kind: recordTrain, id: 65535, index: 3, count: 4}, {kind: recordAsk, id: 9}, {kind: recordTell, id: 1, bytes: 1 << 31, micros: 5},
	} {
		b := want.append(nil)
		got, rest, err := parse(append(b, 0xff))
		if err != nil || len(rest) != 1 || string(got.append(nil)) != string(b) || len(b) != fixed(want.kind) {
			t.Errorf("%+v: got %+v, %d left, %v", want, got, len(rest), err)
		}
		for n := 1; n < len(b); n++ {
			if _, _, err := parse(b[:n]); err == nil {
				t.Errorf("%+v cut to %d bytes was taken", want, n)
			}
		}
	}
}

// FuzzParse proves that parsing ends, stays within what it is given, and takes
// nothing that could not have been written.
func FuzzParse(f *testing.F) {
	f.Add(record{kind: recordProbe, number: 7, time: 1}.append(nil))
	f.Add([]byte{recordFrame, 0, 2, 1, 2, recordPiece, 0, 1, 0, 9, 0, 3, 0, 2, 5, 6, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			r, rest, err := parse(b)
			if err != nil {
				return
			}
			used := b[:len(b)-len(rest)]
			switch r.kind {
			case recordPad:
				return
			case recordFrame:
				if len(r.data) == 0 || frameHead+len(r.data) != len(used) {
					t.Fatalf("frame of %d bytes from %d", len(r.data), len(used))
				}
			case recordPiece:
				if len(r.data) == 0 || pieceHead+len(r.data) != len(used) || r.offset+len(r.data) > r.total {
					t.Fatalf("%+v from %d bytes", r, len(used))
				}
			default:
				if again := r.append(nil); !bytes.Equal(again, used) {
					t.Fatalf("%x is %+v, which is %x", used, r, again)
				}
			}
			b = rest
		}
	})
}

// unpack opens datagrams and gives the frames in them.
func unpack(t *testing.T, s *seal.Session, p *pieces, datagrams [][]byte) (frames [][]byte) {
	t.Helper()
	for _, d := range datagrams {
		b, err := s.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			r, rest, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			b = rest
			switch r.kind {
			case recordFrame:
				frames = append(frames, bytes.Clone(r.data))
			case recordPiece:
				f, err := p.add(r, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if f != nil {
					frames = append(frames, bytes.Clone(f.Bytes()))
					f.Release()
				}
			}
		}
	}
	return frames
}

// TestPackAndUnpack makes batches of frames of all sizes into datagrams of all
// sizes and back.
func TestPackAndUnpack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pool := ethernet.NewSwitch(65517).Pool()
	secrets := seal.NewSecrets(seal.NewKey())
	g, err := secrets.Greet(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, there, err := secrets.Answer(g.Message, 2)
	if err != nil {
		t.Fatal(err)
	}
	here := &session{Session: secrets.Complete(g, m)}
	var p packer
	got := pieces{pool: pool}
	for range 25 {
		size := floorSize + r.IntN(datagram.MostSize-floorSize+1)
		if r.IntN(2) == 0 {
			size = floorSize + r.IntN(2000)
		}
		var sent [][]byte
		w := datagram.NewPath(datagram.UDP, 0, nil)
		w.SetSize(size)
		w.Send = func(b []byte, n int) error {
			if len(b) > datagram.MostSize || len(b) > n*datagram.Segments || n != size {
				t.Fatalf("%d bytes in datagrams of %d", len(b), n)
			}
			for len(b) > 0 {
				k := min(n, len(b))
				sent, b = append(sent, bytes.Clone(b[:k])), b[k:]
			}
			return nil
		}
		var want [][]byte
		p.begin(here, w)
		for range 1 + r.IntN(frameBatch) {
			f := pool.Get(14 + r.IntN(1+r.IntN(65521)))
			for i := range f.Bytes() {
				f.Bytes()[i] = byte(r.Uint32())
			}
			want = append(want, bytes.Clone(f.Bytes()))
			p.add(f)
			f.Release()
		}
		p.end()
		frames := unpack(t, there, &got, sent)
		if len(frames) != len(want) {
			t.Fatalf("%d frames came as %d in datagrams of %d", len(want), len(frames), size)
		}
		for i := range want {
			if !bytes.Equal(want[i], frames[i]) {
				t.Fatalf("frame %d of %d bytes came as %d in datagrams of %d", i, len(want[i]), len(frames[i]), size)
			}
		}
	}
	if p.sent.failed != 0 || got.lost != 0 {
		t.Errorf("%+v, %d lost", p.sent, got.lost)
	}
}

// FuzzPieces compares with the obvious way to put a frame together: each byte
// of the input is a piece of one of two frames.
func FuzzPieces(f *testing.F) {
	f.Add([]byte{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x00})
	f.Add([]byte{0x3f, 0x3a, 0xb8, 0x38, 0x39, 0x3b, 0x3d, 0xb9, 0x3c, 0x3e}) // whole, out of order
	f.Add([]byte{0x38, 0x38, 0x78, 0x39, 0x38, 0x79, 0x3a})                   // on each other
	pool := ethernet.NewSwitch(1500).Pool()
	f.Fuzz(func(t *testing.T, b []byte) {
		const total, step = 128, 16
		p := pieces{pool: pool}
		defer p.close()
		var have [2][total]bool
		for _, c := range b {
			which, from, long := int(c>>7), int(c&7)*step, int(c>>3&15)+1
			to := min(from+long*2, total)
			data := make([]byte, to-from)
			overlaps := false
			for i := range data {
				data[i] = byte(from + i)
				overlaps = overlaps || have[which][from+i]
			}
			frame, err := p.add(record{kind: recordPiece, id: uint16(which), total: total, offset: from, data: data}, time.Time{})
			if (err != nil) != overlaps {
				t.Fatalf("from %d to %d: %v, want an error: %v", from, to, err, overlaps)
			}
			if overlaps {
				have[which] = [total]bool{}
				continue
			}
			whole := true
			for i := range have[which] {
				have[which][i] = have[which][i] || i >= from && i < to
				whole = whole && have[which][i]
			}
			if whole != (frame != nil) {
				t.Fatalf("whole is %v, a frame came: %v", whole, frame != nil)
			}
			if frame != nil {
				for i, got := range frame.Bytes() {
					if got != byte(i) {
						t.Fatalf("byte %d is %d", i, got)
					}
				}
				frame.Release()
				have[which] = [total]bool{}
			}
		}
	})
}

// TestPiecesAreBounded proves that frames that never become whole are given up,
// and that nonsense is refused.
func TestPiecesAreBounded(t *testing.T) {
	pool := ethernet.NewSwitch(1500).Pool()
	p := pieces{pool: pool}
	now := time.Now()
	half := func(id int, total, offset, n int) error {
		_, err := p.add(record{kind: recordPiece, id: uint16(id), total: total, offset: offset, data: make([]byte, n)}, now)
		return err
	}
	held := func() (n int) {
		for i := range p.slots {
			if p.slots[i].frame != nil {
				n++
			}
		}
		return n
	}
	for id := range 70000 {
		if err := half(id, 1000, 0, 500); err != nil {
			t.Fatal(err)
		}
	}
	if held() != partials {
		t.Errorf("%d frames are held", held())
	}
	now = now.Add(partialAge + 1)
	p.expire(now)
	if held() != 0 || p.lost != 70000 {
		t.Errorf("%d frames are held when all are too old, %d were lost", held(), p.lost)
	}
	for i := range maxRuns {
		if err := half(1, 1500, 2*i, 1); err != nil {
			t.Fatal(err)
		}
	}
	if half(1, 1500, 2*maxRuns, 1) == nil {
		t.Error("a frame was cut without end")
	}
	if half(2, 1519, 0, 100) == nil || half(2, 13, 0, 13) == nil {
		t.Error("a frame was taken that the switch would not")
	}
	if half(3, 1000, 0, 100) != nil || half(3, 999, 200, 100) == nil {
		t.Error("a frame has two sizes")
	}
}

// TestSizesInTheEnd follows a search without a path that carries anything.
func TestSizesInTheEnd(t *testing.T) {
	var z sizes
	now := time.Now()
	z.begin(9000, now)
	for range 1000 {
		size, due := z.want(now)
		if size > 9000 || size > 0 && size <= z.now {
			t.Fatalf("a try of %d with %d proven", size, z.now)
		}
		if !due.After(now) {
			t.Fatal("the search does not wait")
		}
		if now = due; !now.Before(z.again) {
			break
		}
	}
	if size, due := z.want(now); size != 0 || due != z.again || z.now != datagram.BaseSize {
		t.Errorf("after the search: a try of %d, %d in use", size, z.now)
	}
}
