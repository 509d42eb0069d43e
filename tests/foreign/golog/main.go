// What other people's code says about our log: the Go team's note and tlog, torchwood, transparency-dev.
//
//	golog log URL VKEY             every entry, tile, inclusion and consistency proof of a served log
//	golog proof FILE ENTRY VKEY    one tlog-proof
//	golog cosigned FILE VKEY WITNESS…    a checkpoint with the cosignature of each of these witnesses
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"filippo.io/torchwood"
	fmtlog "github.com/transparency-dev/formats/log"
	fmtnote "github.com/transparency-dev/formats/note"
	fmtproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "log":
		err = checkLog(os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "proof":
		err = checkProof(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) >= 5 && os.Args[1] == "cosigned":
		err = checkCosigned(os.Args[2], os.Args[3], os.Args[4:])
	default:
		err = fmt.Errorf("usage: golog log URL VKEY | golog proof FILE ENTRY VKEY | golog cosigned FILE VKEY WITNESS…")
	}
	if err != nil {
		fmt.Println("REFUSED:", err)
		os.Exit(1)
	}
}

func get(url string) ([]byte, error) {
	r, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", url, r.Status)
	}
	return b, err
}

// tiles reads the tiles of a log, named as C2SP names them.
type tiles struct{ url string }

func (t tiles) Height() int                     { return 8 }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(ts []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range ts {
		// tile/8/<L>/<N> of the Go checksum database is tile/<L>/<N> here.
		b, err := get(t.url + "/" + strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func open(signed []byte, vkey string) (*fmtlog.Checkpoint, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return nil, err
	}
	if _, err := torchwood.ParseCheckpoint(n.Text); err != nil {
		return nil, err
	}
	c := new(fmtlog.Checkpoint)
	rest, err := c.Unmarshal([]byte(n.Text))
	if err == nil && (len(rest) > 0 || c.Origin != v.Name()) {
		err = fmt.Errorf("the checkpoint of %q has %d bytes more", c.Origin, len(rest))
	}
	return c, err
}

func checkLog(url, vkey string) error {
	signed, err := get(url + "/checkpoint")
	if err != nil {
		return err
	}
	c, err := open(signed, vkey)
	if err != nil {
		return err
	}
	size := int64(c.Size)
	tree := tlog.Tree{N: size, Hash: tlog.Hash(c.Hash)}
	// It checks every tile that it reads against the root.
	reader := tlog.TileHashReader(tree, tiles{url})
	entries, err := readEntries(url, size)
	if err != nil {
		return err
	}
	for i, e := range entries {
		p, err := tlog.ProveRecord(size, int64(i), reader)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if err := tlog.CheckRecord(p, size, tree.Hash, int64(i), tlog.RecordHash(e)); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	for old := int64(1); old <= size; old++ {
		root, err := tlog.TreeHash(old, reader)
		if err != nil {
			return err
		}
		p, err := tlog.ProveTree(size, old, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(p, size, tree.Hash, old, root); err != nil {
			return fmt.Errorf("from %d: %w", old, err)
		}
	}
	fmt.Printf("ACCEPTED %d entries\n", size)
	return nil
}

func readEntries(url string, size int64) ([][]byte, error) {
	var all [][]byte
	for int64(len(all)) < size {
		n := int64(len(all)) / 256
		t := tlog.Tile{H: 8, L: -1, N: n, W: int(min(256, size-n*256))}
		b, err := get(url + "/" + strings.Replace(t.Path(), "tile/8/data/", "tile/entries/", 1))
		if err != nil {
			return nil, err
		}
		for len(b) > 0 {
			if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
				return nil, fmt.Errorf("bundle %d is cut", n)
			}
			l := int(binary.BigEndian.Uint16(b))
			all, b = append(all, b[2:2+l]), b[2+l:]
		}
	}
	return all, nil
}

func checkProof(file, entry, vkey string) error {
	proof, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	leaf, err := os.ReadFile(entry)
	if err != nil {
		return err
	}
	policy, err := torchwood.ParsePolicy([]byte("log " + vkey + "\nquorum none\n"))
	if err != nil {
		return err
	}
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(leaf), proof); err != nil {
		return fmt.Errorf("torchwood: %w", err)
	}
	p := new(fmtproof.TLogProof)
	if err := p.Unmarshal(proof); err != nil {
		return fmt.Errorf("formats: %w", err)
	}
	if !bytes.Equal(p.Marshal(), proof) {
		return fmt.Errorf("formats writes it in another way")
	}
	c, err := open(p.Checkpoint, vkey)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, h := range p.Hashes {
		path = append(path, tlog.Hash(h))
	}
	if err := tlog.CheckRecord(path, int64(c.Size), tlog.Hash(c.Hash), int64(p.Index), tlog.RecordHash(leaf)); err != nil {
		return err
	}
	fmt.Printf("ACCEPTED entry %d of %d\n", p.Index, c.Size)
	return nil
}

func checkCosigned(file, vkey string, witnesses []string) error {
	signed, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := open(signed, vkey)
	if err != nil {
		return err
	}
	log, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	// The verifiers of transparency-dev and of torchwood, each with the Go team's note.
	verifiers := []note.Verifier{log}
	policy := "log " + vkey + "\n"
	var names string
	for i, w := range witnesses {
		v, err := fmtnote.NewVerifierForCosignatureV1(w)
		if err != nil {
			return fmt.Errorf("formats: %w", err)
		}
		verifiers = append(verifiers, v)
		policy += fmt.Sprintf("witness w%d %s\n", i, w)
		names += fmt.Sprintf(" w%d", i)
	}
	policy += "group g all" + names + "\nquorum g\n"
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return fmt.Errorf("formats: %w", err)
	}
	if len(n.Sigs) != len(verifiers) {
		return fmt.Errorf("formats: %d of %d signatures verify", len(n.Sigs), len(verifiers))
	}
	for _, s := range n.Sigs[1:] {
		at, err := fmtnote.CoSigV1Timestamp(s)
		if err != nil || at.Unix() == 0 {
			return fmt.Errorf("the time of %s: %v, %w", s.Name, at, err)
		}
	}
	p, err := torchwood.ParsePolicy([]byte(policy))
	if err != nil {
		return fmt.Errorf("torchwood: %w", err)
	}
	n, err = note.Open(signed, p)
	if err != nil {
		return fmt.Errorf("torchwood: %w", err)
	}
	if err := p.Check(c.Origin, n.Sigs); err != nil {
		return fmt.Errorf("torchwood: %w", err)
	}
	fmt.Printf("ACCEPTED %d entries, cosigned by %d\n", c.Size, len(witnesses))
	return nil
}
