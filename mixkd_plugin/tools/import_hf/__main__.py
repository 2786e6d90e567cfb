from .import_hf import main

main()
