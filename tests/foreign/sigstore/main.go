// What Sigstore's own code says about our checkpoints: the verifier of its log, Rekor v2.
//
//	sigstore CHECKPOINT VKEY
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor-tiles/v2/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Println("REFUSED:", err)
		os.Exit(1)
	}
}

func check(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: sigstore CHECKPOINT VKEY")
	}
	signed, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	// Sigstore hands out keys in another form: of a vkey only the name and the key itself are taken, so
	// that the key id is computed by its code.
	parts := strings.SplitN(args[1], "+", 3)
	if len(parts) != 3 {
		return fmt.Errorf("no vkey: %q", args[1])
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize {
		return fmt.Errorf("no Ed25519 key: %q", args[1])
	}
	verifier, err := signature.LoadED25519Verifier(ed25519.PublicKey(key[1:]))
	if err != nil {
		return err
	}
	of, err := note.NewNoteVerifier(parts[0], verifier)
	if err != nil {
		return err
	}
	checkpoint, err := verify.VerifyCheckpoint(string(signed), of)
	if err != nil {
		return err
	}
	fmt.Printf("ACCEPTED %s %d %x\n", checkpoint.Origin, checkpoint.Size, checkpoint.Hash)
	return nil
}
