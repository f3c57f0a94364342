// Command manual writes the manual pages of all commands and the completion scripts of
// the shells into a folder. SOURCE_DATE_EPOCH, in Unix seconds, is the date of the pages.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"tidemark/command"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manual FOLDER")
		os.Exit(2)
	}
	if err := write(command.Tree(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

func write(root *cobra.Command, folder string) error {
	pages, completions := filepath.Join(folder, "man"), filepath.Join(folder, "completions")
	for _, dir := range []string{pages, completions} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "tidemark", Manual: "tidemark"}, pages); err != nil {
		return err
	}
	for name, generate := range map[string]func(file string) error{
		"tidemark.bash": func(file string) error { return root.GenBashCompletionFileV2(file, true) },
		"tidemark.fish": func(file string) error { return root.GenFishCompletionFile(file, true) },
		"_tidemark":     root.GenZshCompletionFile,
		"tidemark.ps1":  root.GenPowerShellCompletionFileWithDesc,
	} {
		if err := generate(filepath.Join(completions, name)); err != nil {
			return err
		}
	}
	return nil
}
