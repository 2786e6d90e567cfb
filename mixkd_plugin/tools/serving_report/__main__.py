from .serving_report import main

main()
