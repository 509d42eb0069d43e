// Says whether standard input is SARIF 2.1.0, by the schema of OASIS as go-sarif carries it.
//
// go-sarif itself reads a document first and checks what it has read, so that a field which it does
// not know is never seen. Here the schema is taken out of its source and holds the document as it was
// written. Then go-sarif has to read it, too.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"
)

func main() {
	if len(os.Args) != 2 {
		fail("usage: sarif FOLDER-OF-GO-SARIF < document")
	}
	document, err := io.ReadAll(os.Stdin)
	must(err)
	text, err := schema(filepath.Join(os.Args[1], "pkg/report/v210/sarif/schema.go"))
	must(err)
	result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(text), gojsonschema.NewBytesLoader(document))
	must(err)
	for _, wrong := range result.Errors() {
		fmt.Println(wrong)
	}
	if !result.Valid() {
		os.Exit(1)
	}
	read, err := sarif.FromBytes(document)
	must(err)
	results := 0
	for _, run := range read.Runs {
		results += len(run.Results)
	}
	fmt.Printf("SARIF %s, %d runs, %d results\n", read.Version, len(read.Runs), results)
}

// The constant `schema` of a Go file.
func schema(file string) (string, error) {
	source, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return "", err
	}
	for _, declared := range source.Decls {
		group, ok := declared.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			if text, ok := value.Values[0].(*ast.BasicLit); ok && value.Names[0].Name == "schema" {
				return strconv.Unquote(text.Value)
			}
		}
	}
	return "", fmt.Errorf("%s has no schema", file)
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}
